//! The configuration is read as documented, and a wrong one is refused with every error named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) fn documented_example() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = fs::read_to_string(document).unwrap();
    let example = text.split("<!-- example -->\n```toml\n").nth(1).unwrap();
    example.split("```").next().unwrap().to_owned()
}

struct Files {
    _folder: TempDir,
    config: PathBuf,
}

fn written(text: &str) -> Files {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("stipend.toml");
    fs::write(&config, text).unwrap();
    Files { _folder: folder, config }
}

fn check(text: &str, environment: &[(&str, &str)]) -> Output {
    let files = written(text);
    Command::new(env!("CARGO_BIN_EXE_stipend"))
        .args(["config", "check", "--config"])
        .arg(&files.config)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn complaint(text: &str, environment: &[(&str, &str)]) -> String {
    let output = check(text, environment);
    assert!(!output.status.success(), "accepted: {text}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_documented_example_is_accepted() {
    let output = check(&documented_example(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("1 chain(s), 1 paymaster(s), 2 signer(s)"), "{said}");
}

#[test]
fn the_environment_overrides_the_file() {
    let said =
        complaint(&documented_example(), &[("STIPEND__PRICING__8453__POINTS_PER_E18_WEI", "0")]);
    assert!(said.contains("pricing.8453.points_per_e18_wei is 0"), "{said}");
}

#[test]
fn an_amount_in_the_environment_is_exact_or_refused() {
    let price = |text| {
        check(&documented_example(), &[("STIPEND__PRICING__8453__POINTS_PER_E18_WEI", text)])
    };
    assert!(price("250000").status.success());
    assert!(price("\"12.500001\"").status.success());
    let said =
        complaint(&documented_example(), &[("STIPEND__PRICING__8453__POINTS_PER_E18_WEI", "12.5")]);
    assert!(said.contains("in quotes"), "{said}");
}

#[test]
fn what_leaves_needs_a_place_a_role_and_time() {
    for (from, to, named) in [
        ("archive_after_days = 400", "archive_after_days = 61", "archive_after_days is 61"),
        ("archive_dir = \"/var/lib/stipend/archive\"\n", "", "needs ledger.archive_dir"),
        ("archive_after_days = 400\n", "", "archive_dir needs ledger.archive_after_days"),
        ("maintenance_url = ", "# ", "needs database.maintenance_url"),
    ] {
        let said = complaint(&documented_example().replace(from, to), &[]);
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn every_error_is_named_at_once() {
    let wrong = documented_example()
        .replace("validity_seconds = 180", "validity_seconds = 4000")
        .replace("signers = [\"hot\", \"standby\"]", "signers = [\"cold\"]")
        .replace("gas_limits_bps = 20000", "gas_limits_bps = 1");
    let said = complaint(&wrong, &[]);
    for part in
        ["3 error(s)", "sponsorship.validity_seconds", "signer cold", "bounds.gas_limits_bps"]
    {
        assert!(said.contains(part), "{part} is missing from {said}");
    }
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    let wrong = documented_example().replace("max_batch = 20", "max_batches = 20");
    let said = complaint(&wrong, &[]);
    assert!(said.contains("max_batches"), "{said}");
}

#[test]
fn production_gives_no_points_away_and_holds_no_key() {
    let wrong = format!("{}\n[dev]\nauto_provision = \"1000\"\n", documented_example());
    assert!(complaint(&wrong, &[]).contains("dev.auto_provision"));
    let key = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let wrong = documented_example().replace(
        "keystore = \"/run/secrets/hot.json\"\npassword_file = \"/run/secrets/hot.password\"",
        &format!("key = \"{key}\""),
    );
    let said = complaint(&wrong, &[]);
    assert!(said.contains("signers.hot.key"), "{said}");
    assert!(!said.contains(key), "the key is shown: {said}");
}

#[test]
fn a_wrong_value_is_named_but_not_shown() {
    let secret = "postgres-password-of-somebody";
    let wrong = documented_example()
        .replace("max_connections = 16", &format!("max_connections = \"{secret}\""));
    let said = complaint(&wrong, &[]);
    assert!(said.contains("max_connections"), "{said}");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn a_missing_file_says_where_to_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_stipend"))
        .args(["config", "check", "--config", "no-such-file.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no-such-file.toml") && said.contains("docs/configuration.md"), "{said}");
}
