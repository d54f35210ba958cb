//! Completions and manual pages, which name every subcommand.

use crate::{text, tidemark};

#[test]
fn each_shell_has_completions_that_know_the_options_of_send() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tidemark().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("dry-run"), "{shell}");
    }
    let output = tidemark().args(["completions", "tcl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn bash_takes_its_completions() {
    let script = tidemark().args(["completions", "bash"]).output().unwrap().stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidemark.bash");
    std::fs::write(&path, script).unwrap();
    let asked = "source \"$0\"; COMP_WORDS=(tidemark send --dr); COMP_CWORD=2; _tidemark tidemark --dr send; echo \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash")
        .args(["-c", asked])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout).trim(),
        "--dry-run",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn each_subcommand_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let output = tidemark().arg("man").arg(&pages).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for name in [
        "tidemark",
        "tidemark-send",
        "tidemark-run",
        "tidemark-audit",
        "tidemark-completions",
        "tidemark-keys-create",
        "tidemark-dead-letters-redrive",
    ] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
    let send = std::fs::read_to_string(pages.join("tidemark-send.1")).unwrap();
    assert!(
        send.contains("tidemark\\-send") && send.contains("Exit codes"),
        "{send}"
    );
}
