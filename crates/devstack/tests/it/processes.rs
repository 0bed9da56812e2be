use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use devstack::process::{Process, Spec};
use nix::{errno::Errno, sys::signal::killpg, unistd::Pid};

fn is_gone(group: i32) -> bool {
    killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn children_die_with_a_parent_that_is_killed() {
    let mut holder =
        Command::new(env!("CARGO_BIN_EXE_devstack-hold")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let groups: Vec<i32> = serde_json::from_value(said["groups"].clone()).unwrap();
    let ports: Vec<u16> = serde_json::from_value(said["ports"].clone()).unwrap();
    let folder: PathBuf = serde_json::from_value(said["folder"].clone()).unwrap();
    assert!(groups.iter().all(|group| !is_gone(*group)));
    assert!(ports.iter().all(|port| listens(*port)));
    assert!(folder.exists());

    holder.kill().unwrap();
    holder.wait().unwrap();

    eventually("the children are gone", || groups.iter().all(|group| is_gone(*group)));
    assert!(!ports.iter().any(|port| listens(*port)));
    assert!(!folder.exists());
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn shell(script: &str) -> (tempfile::TempDir, Spec) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let spec = Spec::new("a shell", "/bin/sh", folder.path(), log).args(["-c", script]);
    (folder, spec)
}

#[tokio::test]
async fn a_child_that_ends_early_shows_the_end_of_its_log() {
    let (_folder, spec) = shell("echo the tank is empty; exit 3");
    let mut child = Process::start(&spec).unwrap();
    let error = child.ready(5, async || false).await.unwrap_err().to_string();
    assert!(error.contains("the tank is empty"), "{error}");
    assert!(error.contains("exited with status 3"), "{error}");
}

#[tokio::test]
async fn a_child_that_ignores_the_request_to_end_is_killed() {
    let (_folder, mut spec) = shell("trap '' TERM; while :; do sleep 0.1; done");
    spec.grace_seconds = 1;
    let mut child = Process::start(&spec).unwrap();
    let group = i32::try_from(child.group()).unwrap();
    child.stop().await.unwrap();
    eventually("the group is gone", || is_gone(group));
}

#[tokio::test]
async fn a_child_does_not_see_our_environment() {
    let (_folder, spec) = shell("env");
    let mut child = Process::start(&spec.env("STIPEND_SPECIAL", "seen")).unwrap();
    eventually("the child has ended", || child.has_ended());
    let log = std::fs::read_to_string(child.log()).unwrap();
    assert!(log.contains("STIPEND_SPECIAL=seen"), "{log}");
    assert!(!log.contains("CARGO_MANIFEST_DIR"), "{log}");
}

#[test]
fn a_command_that_runs_to_its_end_tells_success_from_failure() {
    let (_folder, good) = shell("echo compiled");
    Process::start(&good).unwrap().succeed("forge build", || {}).unwrap();
    let (_folder, bad) = shell("echo no such file; exit 10");
    let refused = Process::start(&bad).unwrap().succeed("forge build", || {});
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("`forge build` failed"), "{error}");
    assert!(error.contains("no such file"), "{error}");
}
