//! Whatever lies in the directory: a clear finding, no panic, the last good revision kept.

use std::process::Command;

use trysail_testkit::load::Plan;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED};

#[test]
fn each_kind_of_rubbish_is_told_and_survived() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::spawn(folder.path(), "limits: {file: 12MiB, document: 11MiB}\n");
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(1).max_time(PATIENCE * 10).start();
    let path = |name: &str| folder.path().join(name);
    let bytes = |name: &'static str, bytes: Vec<u8>| {
        let path = path(name);
        move || std::fs::write(path, bytes).expect("written")
    };
    let pipe = path("pipe.yaml");
    let make_pipe = move || {
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
    };
    let huge = path("huge.yaml");
    let make_huge =
        move || std::fs::File::create(huge).and_then(|file| file.set_len(20 << 20)).expect("made");
    let one_document = |size: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  selector: {{a: {}}}\n",
            "x".repeat(size)
        )
    };
    type Act = Box<dyn FnOnce()>;
    let acts: Vec<(&str, Act, &str)> = vec![
        ("bad.yaml", Box::new(bytes("bad.yaml", b"a: [1,\nb: {".to_vec())), "bad.yaml:"),
        (
            "types.yaml",
            Box::new(bytes(
                "types.yaml",
                b"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: 1.0}\nspec: []\n"
                    .to_vec(),
            )),
            "put it in quotes",
        ),
        ("latin.yaml", Box::new(bytes("latin.yaml", b"# caf\xe9\n".to_vec())), "UTF-8"),
        ("pipe.yaml", Box::new(make_pipe), "FIFO"),
        ("huge.yaml", Box::new(make_huge), "huge.yaml"),
        (
            "long.yaml",
            Box::new(bytes("long.yaml", one_document((11 << 20) + 1).into_bytes())),
            "over the limit",
        ),
        ("again.yaml", Box::new(bytes("again.yaml", SEED.as_bytes().to_vec())), "is there twice"),
        ("scalar.yaml", Box::new(bytes("scalar.yaml", b"just text\n".to_vec())), "a map is wanted here"),
        (
            "deep.yaml",
            Box::new(bytes("deep.yaml", [b"a: ".to_vec(), b"[".repeat(5000)].concat())),
            "deep.yaml:1",
        ),
    ];
    for (name, act, words) in acts {
        gateway.after(act, words);
        assert_eq!(gateway.sum("trysail_config_last_reload_successful", &[]), 0.0, "{name}");
        gateway.after(|| std::fs::remove_file(path(name)).expect("removed"), "and in force");
    }
    load.stop().assert_all_good();
}

#[test]
fn many_and_large_documents_are_fine() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let entry = |n: usize| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{n}}}\nspec: {{hosts: [s{n}.test], resolution: STATIC, ports: [{{number: 80, name: http}}], endpoints: [{{address: 10.0.0.1}}]}}\n"
        )
    };
    let many: String = (0..5000).map(entry).collect();
    gateway.after(|| folder.write("many.yaml", &many), "in force after");
    assert_eq!(gateway.sum("trysail_config_objects", &[]), 5004.0);
    let large = format!("# {}\n{}", "x".repeat(10 << 20), entry(9999));
    gateway.after(|| folder.write("large.yaml", &large), "in force after");
    assert_eq!(gateway.client().get("a", "/reviews/0", &[]).expect("an answer").status, 200);
}
