//! The Debian package, on a machine of its own (`service::Machine`): installed, edited, upgraded under requests, removed and
//! purged; the README's walk-through, whose very commands are run and whose answers are compared; and the tarball, by the
//! README's commands too.
//!
//! What is packed is the binary of this build, so that nothing is built for it. Without root, dpkg or what the sandbox needs
//! a test says so and passes; where CI runs as root it fails.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use trysail_testkit::client::fetch;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{PATIENCE, SEED};
use crate::service::{HTTP, Machine};

/// Where the packages lie on the machine.
const PACKAGES: &str = "/srv/packages";
/// All places that a package or a service could leave something in.
const LEFT: &str = "find /etc /usr /var /run -xdev -iname '*trysail*' -not -path '/srv/*' | sort; \
                    getent passwd trysail; getent group trysail; true";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a test on a machine that has these, each made by a script of `packaging/` as this version, and nothing of ours
/// installed.
fn on_a_machine(name: &str, packages: &[(&str, &str)], test: impl FnOnce(&Machine)) {
    if Machine::is_inside() {
        return Machine::with_files(name, &[], test);
    }
    for (program, package) in [("dpkg-deb", "dpkg"), ("strip", "binutils"), ("readelf", "binutils")] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing: apt-get install {package}");
            let _ = writeln!(std::io::stderr(), "{name} is skipped, {program} is missing");
            return;
        }
    }
    let folder = Folder::new();
    for (script, version) in packages {
        let output = Command::new(root().join("packaging").join(script))
            .args([Path::new(env!("CARGO_BIN_EXE_trysail")), folder.path()])
            .envs([("VERSION", *version), ("QUICK", "1")])
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Machine::with_files(name, &[format!("{}:{PACKAGES}", folder.path().display())], test);
}

#[test]
fn it_is_installed_upgraded_removed_and_purged() {
    let name = "package::it_is_installed_upgraded_removed_and_purged";
    on_a_machine(name, &[("deb", "0.1.0-1"), ("deb", "0.1.0-2")], |machine| {
        // An index of all the machine's manual pages, anew each time, is not what is asked about.
        machine.must("rm -f /var/lib/man-db/auto-update");
        let before = machine.must(LEFT);
        let version = || machine.must("dpkg-query -W -f '${Version} ${Status}' trysail");

        // Installed, it serves.
        machine.must(&format!("dpkg -i {PACKAGES}/trysail_0.1.0-1_*.deb"));
        assert_eq!(machine.property("ActiveState"), "active");
        assert_eq!(machine.run("systemctl is-enabled trysail trysail.socket"), "enabled\ndisabled\n");
        let reply = fetch(HTTP, "anyone.test", "/").expect("port 80 answers");
        assert_eq!((reply.status, reply.text().starts_with("Trysail is running.")), (200, true));
        assert!(machine.must("trysail status").contains("2 objects, 1 route   serving"));
        let files = machine.must("dpkg -L trysail");
        for command in ["", "-run", "-check", "-status", "-reload"] {
            assert!(files.contains(&format!("/usr/share/man/man1/trysail{command}.1.gz\n")), "{files}");
        }
        assert!(!machine.must("gzip -dc /usr/share/man/man1/trysail-status.1.gz").contains("/usr/local"));
        machine.must("bash -n /usr/share/bash-completion/completions/trysail");
        assert_eq!(
            machine.run("grep -l -d skip /usr/local/ $(dpkg -L trysail | grep -E 'systemd|conf$|yaml$')"),
            ""
        );
        let modes =
            "stat -c '%a %U:%G %n' /etc/trysail/certificates /var/lib/trysail /etc/trysail/welcome.yaml";
        assert_eq!(
            machine.must(modes),
            "750 root:trysail /etc/trysail/certificates\n700 trysail:trysail /var/lib/trysail\n\
             644 root:root /etc/trysail/welcome.yaml\n"
        );

        // An edit is all that a reload takes; files of one's own beside those of the package.
        machine.write("seed.yaml", SEED);
        machine.write("endpoints.yaml", &machine.reviews.service_entry());
        machine.write("welcome.yaml", &welcome().replace("Trysail is running", "Edited"));
        let says =
            |path: &str| fetch(HTTP, "anyone.test", path).map(|reply| reply.text()).unwrap_or_default();
        eventually(PATIENCE, "the edit serves", || says("/").starts_with("Edited."));
        eventually(PATIENCE, "the new files serve", || says("/reviews/0").starts_with('v'));

        // With the socket, an upgrade costs no request.
        machine.must("systemctl enable trysail.socket && systemctl stop trysail");
        machine.must("systemctl start trysail.socket trysail.service");
        let old = machine.property("MainPID");
        let load = Plan::new(HTTP, "anyone.test", "/reviews/0").threads(2).max_time(PATIENCE * 2).start();
        eventually(PATIENCE, "there is load", || load.so_far().total() > 50);
        machine.must(&format!("dpkg -i {PACKAGES}/trysail_0.1.0-2_*.deb"));
        let then = load.so_far().total();
        eventually(PATIENCE, "the load goes on", || load.so_far().total() > then + 50);
        load.stop().assert_all_good();
        assert_eq!(version(), "0.1.0-2 install ok installed");
        let new = machine.property("MainPID");
        assert!(new != old && new != "0", "it is another process: {old}, {new}");
        assert!(says("/").starts_with("Edited."), "what was edited stays");
        assert_eq!(machine.run("systemctl is-active trysail.socket trysail"), "active\nactive\n");

        // One that is stopped and disabled is not started by an upgrade.
        machine.must("systemctl disable trysail && systemctl stop trysail.socket trysail");
        machine.must(&format!("dpkg -i {PACKAGES}/trysail_0.1.0-2_*.deb"));
        assert_eq!(machine.property("ActiveState"), "inactive");
        assert_eq!(machine.run("systemctl is-enabled trysail trysail.socket"), "disabled\nenabled\n");
        machine.must("systemctl enable trysail && systemctl start trysail.socket trysail");

        // Removed, it has gone and its configuration has not.
        machine.must("dpkg -r trysail");
        assert!(fetch(HTTP, "anyone.test", "/").is_err(), "nobody listens");
        assert_eq!(version(), "0.1.0-2 deinstall ok config-files");
        assert_eq!(
            machine.must("ls /etc/trysail /usr/bin/trysail 2>&1; true"),
            "ls: cannot access '/usr/bin/trysail': No such file or directory\n/etc/trysail:\ncertificates\n\
             endpoints.yaml\nseed.yaml\ntrysail.yaml\nwelcome.yaml\n"
        );
        machine.must(&format!("dpkg -i {PACKAGES}/trysail_0.1.0-2_*.deb"));
        assert!(says("/").starts_with("Edited."), "back as it was");

        // Purged, there is nothing left.
        machine.must("dpkg -P trysail");
        assert_eq!(machine.must(LEFT), before);
        // One that is forgotten a moment later is nothing but its name.
        let units = machine.run(
            "systemctl list-units --all --plain --no-legend 'trysail*' | grep -v 'not-found *inactive *dead'",
        );
        assert_eq!(units, "");
    });
}

fn welcome() -> String {
    std::fs::read_to_string(root().join("packaging/examples/welcome.yaml")).expect("it is shipped")
}

#[test]
fn the_walk_through_of_the_readme_is_what_happens() {
    let name = "package::the_walk_through_of_the_readme_is_what_happens";
    on_a_machine(name, &[("deb", "0.1.0-1")], |machine| {
        let path = root().join("README.md");
        let readme = std::fs::read_to_string(&path).expect("it is there");
        let (before, rest) = readme.split_once(WALK).expect("the README has the heading");
        let (about, rest) = rest.split_once("\n```\n").expect("a block of commands follows");
        let (block, after) = rest.split_once("\n```\n").expect("the block ends");
        let steps = steps(block);
        assert!((2..=10).contains(&steps.len()), "{} commands are no walk", steps.len());

        // Two versions, where the example of the package says they answer.
        let origins: Vec<Origin> = [("v1", 8081), ("v2", 8082)]
            .map(|(version, port)| {
                let answer = Answer::version(version).body(format!("{version}\n"));
                Origin::start_at(([127, 0, 0, 1], port).into(), answer).expect("nobody else is here")
            })
            .into();
        let architecture = machine.must("dpkg --print-architecture").trim().to_owned();
        let (mut faults, mut found) = (String::new(), Vec::new());
        for step in &steps {
            let command = step.command.replace("amd64", &architecture);
            let said =
                machine.must(&format!("cd {PACKAGES} && {{ {command}\n}}")).replace(&architecture, "amd64");
            // What a terminal would show of a line that is written over.
            let said: Vec<&str> = said.lines().map(|line| line.rsplit('\r').next().unwrap_or(line)).collect();
            let alike = alike(&step.says, &said);
            if !alike {
                let _ = writeln!(
                    faults,
                    "$ {}\n--- the README\n{}\n--- it says\n{}",
                    step.command,
                    step.says.join("\n"),
                    said.join("\n")
                );
            }
            let says = if alike { step.says.clone() } else { said };
            found.extend(std::iter::once(format!("$ {}", step.command)));
            found.extend(says.into_iter().map(str::to_owned));
        }
        assert!(origins.iter().all(|origin| origin.requests() > 0), "both were asked");
        if !faults.is_empty() && std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
            let text = format!("{before}{WALK}{about}\n```\n{}\n```\n{after}", found.join("\n"));
            std::fs::write(&path, text).expect("the README can be written");
            return;
        }
        assert!(faults.is_empty(), "{faults}(UPDATE_EXPECT=1 rewrites the README)");
    });
}

#[test]
fn the_tarball_is_installed_as_the_readme_says() {
    let name = "package::the_tarball_is_installed_as_the_readme_says";
    on_a_machine(name, &[("tarball", "0.1.0")], |machine| {
        let readme = std::fs::read_to_string(root().join("README.md")).expect("it is there");
        let (_, rest) = readme.split_once("lies as below `/usr/local`:\n\n").expect("the README tells of it");
        let commands: Vec<&str> = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
        assert!(commands.len() > 2, "{commands:?}");
        let machines = machine.must("uname -m");
        for command in commands {
            let command = command.replace("x86_64", machines.trim());
            machine.must(&format!("cd {PACKAGES} && bash -c '{command}'"));
        }
        assert_eq!(machine.property("ActiveState"), "active");
        let reply = fetch(HTTP, "anyone.test", "/").expect("port 80 answers");
        assert_eq!(
            (reply.status, reply.text().contains("/usr/local/share/doc/trysail/examples")),
            (200, true)
        );
    });
}

/// The heading of the walk-through.
const WALK: &str = "### From the package to a canary\n";

/// A command, and what the README says it says.
struct Step<'a> {
    command: &'a str,
    says: Vec<&'a str>,
}

fn steps(block: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command, says: Vec::new() }),
            (None, Some(step)) => step.says.push(line),
            (None, None) => panic!("the block begins with a command, not with {line:?}"),
        }
    }
    steps
}

/// Whether lines say what was expected, where a line `…` stands for any lines, white space does not count, and a time
/// may be another.
fn alike(expected: &[&str], said: &[&str]) -> bool {
    match (expected.split_first(), said.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=said.len()).any(|skipped| alike(rest, &said[skipped..])),
        (Some((line, rest)), Some((other, others))) => {
            timeless(line) == timeless(other) && alike(rest, others)
        }
        _ => false,
    }
}

/// The words of a line, with `#` for each time.
fn timeless(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        let unit = word.trim_end_matches([',', ';', ':', ')']);
        if ["µs", "ms", "s", "min"].contains(&unit)
            && let Some(last) = kept.last_mut()
            && last.starts_with(|first: char| first.is_ascii_digit())
        {
            *last = "#".to_owned();
            continue;
        }
        kept.push(word.to_owned());
    }
    kept
}

#[test]
fn lines_are_alike_but_for_times_and_what_is_left_out() {
    for (expected, said, like) in [
        (&["up 4 s   fine"][..], &["up 200 ms fine"][..], true),
        (&["up 4 s, fine"], &["up 5 min, fine"], true),
        (&["90 v1"], &["91 v1"], false),
        (&["…", "done"], &["a", "b", "done"], true),
        (&["…", "done"], &["done"], true),
        (&["a", "…"], &["a", "b", "c"], true),
        (&["a", "…", "c"], &["a", "b"], false),
        (&["a"], &[], false),
        (&[], &["a"], false),
    ] {
        assert_eq!(alike(expected, said), like, "{expected:?} {said:?}");
    }
}
