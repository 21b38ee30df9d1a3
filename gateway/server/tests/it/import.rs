//! `import`: where the result and the findings go, and what the exit codes say.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use trysail_testkit::folder::Folder;

/// Runs `import nginx-ingress` in a folder.
fn import(arguments: &[&str], input: &[u8], folder: &Folder) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trysail"));
    command.args(["import", "nginx-ingress"]).args(arguments).current_dir(folder.path());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("trysail starts");
    // One that was asked wrongly may be gone before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("trysail ends")
}

fn ingress(annotations: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: cart\n  namespace: shop\n  \
         annotations: {{{annotations}}}\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: shop.test\n    http:\n      \
         paths: [{{path: /cart, pathType: Prefix, backend: {{service: {{name: cart, port: {{number: 80}}}}}}}}]\n"
    )
}

const AUTH: &str = "nginx.ingress.kubernetes.io/auth-type: basic";

#[test]
fn exit_codes_say_whether_all_was_carried_over() {
    let folder = Folder::new();
    folder.write("clean.yaml", &ingress(""));
    folder.write("auth.yaml", &ingress(AUTH));
    folder.write("empty.yaml", "");
    for (arguments, code, out, err) in [
        (
            &["clean.yaml"][..],
            0,
            "- {uri: {exact: /cart}}",
            "1 Ingress → 1 Gateway, 1 VirtualService, 0 DestinationRules. All is carried over.",
        ),
        (&["auth.yaml"], 1, "status: 403", "auth.yaml:6:17"),
        (&["auth.yaml", "--open"], 1, "route:", "its rules let everybody in"),
        (&["clean.yaml", "auth.yaml"], 1, "", "/cart of shop.test is shop/cart"),
        (&["clean.yaml", "--class", "other"], 1, "", "There is nothing to write"),
        (&["empty.yaml"], 1, "", "There is nothing to write"),
        (&["-"], 0, "(-:12)", "-: 1 Ingress"),
        (&["."], 2, "", ". is a directory: name its files, ./*.yaml"),
        (&["nowhere.yaml"], 2, "", "nowhere.yaml can't be read"),
        (&["clean.yaml", "--output", "no/such/folder"], 2, "", "no/such/folder can't be written"),
        (&[], 2, "", "FILE"),
    ] {
        let output = import(arguments, ingress("").as_bytes(), &folder);
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
        assert!(said.contains(out) && told.contains(err), "{arguments:?}\n{said}\n{told}");
        assert!(!out.is_empty() || said.is_empty() || code == 1, "{arguments:?}\n{said}");
    }
    let output = import(&["-"], b"\xff\xfe", &folder);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not UTF-8 from byte 0 on"));
}

#[test]
fn the_result_is_put_in_place_whole_and_served() {
    let folder = Folder::new();
    folder.write("in/cart.yaml", &ingress(AUTH));
    folder.write("out/old.yaml", "");
    let output = import(&["in/cart.yaml", "--output", "out/shop.yaml", "-o", "json"], b"", &folder);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let findings: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((&findings[0]["code"], &findings[0]["line"]), (&"TRY0031".into(), &6.into()));
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("out"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["old.yaml", "shop.yaml"]);
    let mut check = Command::new(env!("CARGO_BIN_EXE_trysail"));
    let check = check.arg("check").arg(folder.path().join("out")).output().expect("trysail runs");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && said.contains("It would be applied"), "{said}");
}
