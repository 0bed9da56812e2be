use std::{
    fs,
    sync::{Arc, Mutex},
};

use devstack::Tools;

const PACKAGE: &str = r#"{"name": "empty", "version": "1.0.0", "private": true}"#;

/// Of a checkout without dependencies, so that npm has nothing to fetch.
const LOCK: &str = r#"{"name": "empty", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "empty", "version": "1.0.0"}}}"#;

/// What an installation says; nothing when there was nothing to do.
fn installs(tools: &Tools) -> (devstack::Result<()>, String) {
    let said = Arc::new(Mutex::new(String::new()));
    let result = tools.ensure_node_modules(&|line| {
        said.lock().unwrap().push_str(line);
    });
    let said = said.lock().unwrap().clone();
    (result, said)
}

#[test]
fn an_installation_without_a_database_is_not_taken_for_one() {
    let root = tempfile::tempdir().unwrap();
    let tools = Tools::at(root.path()).unwrap();
    fs::write(root.path().join("package.json"), PACKAGE).unwrap();
    fs::write(root.path().join("package-lock.json"), LOCK).unwrap();
    for _ in 0..2 {
        let (result, said) = installs(&tools);
        let error = result.unwrap_err().to_string();
        assert!(said.contains("installed the pinned tools"), "{said}");
        assert!(error.contains("PostgreSQL is missing"), "{error}");
    }
}

#[test]
fn what_is_installed_is_not_installed_again() {
    let (result, said) = installs(&Tools::find().unwrap());
    result.unwrap();
    let (result, again) = installs(&Tools::find().unwrap());
    result.unwrap();
    assert_eq!(again, "", "after {said:?}");
}

#[test]
fn a_failed_installation_shows_what_npm_said() {
    let root = tempfile::tempdir().unwrap();
    let tools = Tools::at(root.path()).unwrap();
    fs::write(root.path().join("package.json"), PACKAGE).unwrap();
    fs::write(root.path().join("package-lock.json"), "{ no json").unwrap();
    let (result, _) = installs(&tools);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("`npm ci --ignore-scripts` failed"), "{error}");
    assert!(error.contains("npm error"), "{error}");
}
