//! The image: the program needs no library that its base does not have.

use std::process::Command;

/// Of Debian 12's base with C++'s and gcc's libraries, which distroless calls `cc`.
const BASE: [&str; 8] = [
    "linux-vdso.so.1",
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "ld-linux",
];

#[test]
fn the_base_has_the_libraries() {
    let Ok(output) = Command::new("ldd").arg(env!("CARGO_BIN_EXE_trysail")).output() else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed = text.lines().filter_map(|line| line.split_whitespace().next());
    for library in needed {
        assert!(BASE.iter().any(|base| library.contains(base)), "{library}:\n{text}");
    }
}
