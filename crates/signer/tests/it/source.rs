use std::error::Error;
use std::fs;

use alloy_primitives::{Address, address};
use signer::{LoadError, LocalSigner, Secret, SignerSource};
use tempfile::TempDir;

const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
const ADDRESS: Address = address!("008aeeda4d805471df9b2a5b0f38a0c3bcba786b");

/// The PBKDF2 test vector of the Web3 Secret Storage definition, whose key is [`KEY`].
const KEYSTORE: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;
const PASSWORD: &str = "testpassword";

fn key(text: &str) -> SignerSource {
    SignerSource::Key(Secret::new(text.to_owned()))
}

fn key_file(content: &[u8]) -> (TempDir, SignerSource) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("signer.key");
    fs::write(&path, content).unwrap();
    (dir, SignerSource::KeyFile { path })
}

fn keystore(content: &str, password: &str) -> (TempDir, SignerSource) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("signer.json");
    fs::write(&path, content).unwrap();
    let password = Secret::new(password.to_owned());
    (dir, SignerSource::Keystore { path, password })
}

fn loaded(source: &SignerSource) -> LocalSigner {
    source.load().unwrap()
}

#[test]
fn a_key_is_read_with_and_without_prefix() {
    assert_eq!(loaded(&key(KEY)).address(), ADDRESS);
    assert_eq!(loaded(&key(&format!("0x{KEY}"))).address(), ADDRESS);
}

#[test]
fn a_key_file_may_end_in_a_newline() {
    let (_dir, source) = key_file(format!("0x{KEY}\n").as_bytes());
    assert_eq!(loaded(&source).address(), ADDRESS);
}

#[test]
fn a_keystore_opens_with_its_password() {
    let (_dir, source) = keystore(KEYSTORE, PASSWORD);
    assert_eq!(loaded(&source).address(), ADDRESS);
}

#[test]
fn a_keystore_stays_locked_with_another_password() {
    let (_dir, source) = keystore(KEYSTORE, "another");
    assert!(matches!(source.load(), Err(LoadError::Locked { .. })));
}

#[test]
fn a_malformed_keystore_is_refused() {
    let (_dir, source) = keystore("{}", PASSWORD);
    assert!(matches!(source.load(), Err(LoadError::Locked { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let source = SignerSource::KeyFile { path: "no-such-dir/signer.key".into() };
    let error = source.load().unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }));
    assert!(error.to_string().contains("no-such-dir/signer.key"));
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let (_dir, source) = key_file(&[b'1'; 100_000]);
    assert!(matches!(source.load(), Err(LoadError::TooLong { .. })));
}

#[test]
fn what_is_no_key_is_refused() {
    let zero = "00".repeat(32);
    let curve_order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    for text in ["", "0x", "12", &KEY[1..], &format!("{KEY}00"), &zero, curve_order] {
        assert!(matches!(key(text).load(), Err(LoadError::NotAKey)), "{text} was read as a key");
    }
}

#[test]
fn nothing_shows_the_key_or_the_password() {
    let (_dir, locked) = keystore(KEYSTORE, PASSWORD);
    let mistyped = key(&KEY.replace('7', "g"));
    let error = mistyped.load().unwrap_err();
    let shown = [
        format!("{:?}", loaded(&key(KEY))),
        format!("{:#?}", loaded(&key(KEY))),
        format!("{:?}", key(KEY)),
        format!("{locked:?}"),
        format!("{mistyped:?} {error} {error:?} {:?}", error.source()),
    ];
    for text in shown {
        assert!(!text.contains(&KEY[2..8]), "{text}");
        assert!(!text.contains(&KEY[58..]), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn debug_shows_the_address() {
    assert!(format!("{:?}", loaded(&key(KEY))).contains(&format!("{ADDRESS:?}")));
}
