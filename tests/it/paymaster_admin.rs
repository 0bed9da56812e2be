//! `stipend admin paymaster`: what an operator does to a paymaster, with a dry run first.

use std::fs;

use alloy::primitives::{Address, Bytes, U256};
use devstack::{anvil, entry_points, keys};
use e2e::{Env, on_shared_stack, wait};
use serde_json::Value;

use crate::operator::{ETHER, Operator};

#[test]
fn an_instance_is_deployed_for_each_entry_point_and_found_again() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "deploys").await;
        for (version, entry_point) in entry_points::ALL {
            let deploy = format!("{} --key-file {}", operator.deploy(version), operator.owner.file);
            let planned = operator.does(&deploy).await;
            planned.tells("it would succeed");
            let paymaster: Address = planned.out.trim().parse().unwrap();
            assert!(operator.node.code(paymaster).await.unwrap().is_empty());

            let deployed = operator.does(&format!("{deploy} --send")).await;
            assert_eq!(deployed.out, planned.out);
            let shown = operator.does(&format!("show {paymaster}")).await;
            shown.tells("byte for byte");
            shown.tells(&format!("{entry_point} (version {version})"));

            let nonce = operator.nonce(operator.owner.address).await;
            let again = operator.does(&format!("{deploy} --send")).await;
            again.tells("It stands there already");
            assert_eq!(again.out, planned.out);
            assert_eq!(operator.nonce(operator.owner.address).await, nonce);
        }
    });
}

#[test]
fn the_first_paymaster_needs_no_configuration() {
    on_shared_stack(async |env| {
        let mut operator = Operator::new(env, "bare").await;
        operator.config = operator.folder.join("absent.toml");
        let deploy = format!("{} --key-file {}", operator.deploy("0.9"), operator.owner.file);
        let refused = operator.fails(&deploy).await;
        refused.tells("there is no configuration file");
        refused.tells("--rpc-url");
        let deploy = format!("{deploy} --rpc-url {}", env.endpoints.rpc_url);
        operator.does(&format!("{deploy} --send")).await;
    });
}

#[test]
fn an_address_with_a_leading_zero_byte_is_found_again() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "zeros").await;
        let deploy = format!(
            "{} --leading-zero-bytes 1 --key-file {} --send",
            operator.deploy("0.8"),
            operator.owner.file
        );
        let deployed = operator.does(&deploy).await;
        let paymaster: Address = deployed.out.trim().parse().unwrap();
        assert_eq!(paymaster[0], 0);
        operator.does(&format!("show {paymaster}")).await;
        let again = operator.does(&deploy).await;
        assert_eq!(again.out, deployed.out);
        again.tells("It stands there already");

        let far = format!("{} --leading-zero-bytes 6 --most-tries 1000", operator.deploy("0.8"));
        let refused = operator.fails(&format!("{far} --from {}", operator.owner.address)).await;
        refused.tells("no salt among 1000");
    });
}

#[test]
fn what_the_constructor_would_refuse_is_refused_before() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "arguments").await;
        let deploy = operator.deploy("0.7");
        let from = format!("--from {}", operator.owner.address);
        let twice = format!("{deploy} {from} --signer {}", keys::SIGNER);
        operator.fails(&twice).await.tells("a signer is given twice");
        let zero = deploy.replace(&operator.vault.to_string(), &Address::ZERO.to_string());
        operator.fails(&format!("{zero} {from}")).await.tells("--vault is the zero address");
        let stuck = deploy.replace(&operator.vault.to_string(), &entry_points::V07.to_string());
        operator.fails(&format!("{stuck} {from}")).await.tells("the vault is the EntryPoint");
        let closed = env.stack.chain.counter.to_string();
        let closed = deploy.replace(&operator.vault.to_string(), &closed);
        let refused = operator.fails(&format!("{closed} {from}")).await;
        refused.tells("does not take plain ether");
        let nowhere = deploy.replace("0.7", &operator.vault.to_string());
        operator.fails(&format!("{nowhere} {from}")).await.tells("the vault is the EntryPoint");
        let nowhere = deploy.replace("0.7", &Address::repeat_byte(0x44).to_string());
        operator.fails(&format!("{nowhere} {from}")).await.tells("there is no EntryPoint at");
    });
}

#[test]
fn a_chain_without_the_deterministic_deployer_is_refused() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "proxy").await;
        let options = anvil::Options {
            chain_id: 4242,
            slots_in_an_epoch: 1,
            block_time_seconds: 3600,
            port: None,
            log: env.stack.run.log("anvil-without-deployer"),
        };
        let mut chain = anvil::Anvil::start(&env.stack.tools, &options).await.unwrap();
        let url = chain.node().url().to_string();
        let deployer = devstack::deploy::DETERMINISTIC_DEPLOYER;
        chain.node().set_code(deployer, &Bytes::new()).await.unwrap();
        let deploy =
            format!("{} --from {} --rpc-url {url}", operator.deploy("0.7"), operator.owner.address);
        let refused = operator.fails(&deploy).await;
        refused.tells("the node is on chain 4242, not on chain 31337");
        let operator = Operator { chain_id: 4242, ..operator };
        operator.fails(&deploy).await.tells("has no deterministic deployer at");
        chain.stop().await.unwrap();
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "dry").await;
        let paymaster = operator.deployed("0.9", "2ether").await;
        let other = operator.deployed("0.8", "0wei").await;
        let state = async || {
            (
                operator.nonce(operator.owner.address).await,
                operator.balance(operator.owner.address).await,
                operator.deposit(entry_points::V09, paymaster).await,
                operator.deposit(entry_points::V08, other).await,
            )
        };
        let before = state().await;
        for order in [
            format!("deposit {paymaster} --amount 0.5ether"),
            format!("withdraw {paymaster} --amount 100gwei"),
            format!("withdraw {paymaster} --amount all --to {}", keys::DEPLOYER),
            format!("stake {paymaster} --amount 1ether --unstake-delay 86400"),
            format!("migrate --from-paymaster {paymaster} --to-paymaster {other}"),
        ] {
            let planned =
                operator.does(&format!("{order} --from {}", operator.owner.address)).await;
            planned.tells("nothing was sent");
            planned.tells("it would succeed");
            planned.tells(&format!("nonce {}", before.0));
            assert_eq!(planned.out, "");
        }
        let planned = operator
            .does(&format!("move-to-vault {paymaster} --from {}", operator.guardian.address))
            .await;
        planned.tells("2 ether (2000000000000000000 wei) -> 0 ether (0 wei)");
        assert_eq!(state().await, before);
    });
}

#[test]
fn deposits_move_in_and_out() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "moves").await;
        let key = format!("--key-file {} --send", operator.owner.file);
        for (version, entry_point) in entry_points::ALL {
            let paymaster = operator.deployed(version, "3ether").await;
            assert_eq!(operator.deposit(entry_point, paymaster).await, U256::from(3) * ETHER);

            let to = Address::repeat_byte(version.as_bytes()[2]);
            let before = operator.balance(to).await;
            let order = format!("withdraw {paymaster} --amount 1.5ether --to {to} {key}");
            let withdrawn = operator.does(&order).await;
            withdrawn.tells("deposit now        1.5 ether (1500000000000000000 wei)");
            assert_eq!(withdrawn.out.trim().len(), 66, "the transaction's hash");
            assert_eq!(operator.balance(to).await - before, ETHER * U256::from(3) / U256::from(2));

            let refused =
                operator.fails(&format!("withdraw {paymaster} --amount 2ether {key}")).await;
            refused.tells("the deposit is 1.5 ether");

            let vault = operator.balance(operator.vault).await;
            let guardian = format!("--key-file {} --send", operator.guardian.file);
            operator.does(&format!("move-to-vault {paymaster} {guardian}")).await;
            assert_eq!(operator.deposit(entry_point, paymaster).await, U256::ZERO);
            let moved = operator.balance(operator.vault).await - vault;
            assert_eq!(moved, ETHER * U256::from(3) / U256::from(2));
        }
    });
}

#[test]
fn what_somebody_may_not_do_is_explained_and_not_sent() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "may-not").await;
        let paymaster = operator.deployed("0.7", "1ether").await;
        let guardian = format!("--key-file {} --send", operator.guardian.file);
        let owner = format!("--key-file {} --send", operator.owner.file);
        let nonces = async || {
            let (owner, guardian) = (operator.owner.address, operator.guardian.address);
            (operator.nonce(owner).await, operator.nonce(guardian).await)
        };
        let before = nonces().await;
        let refused =
            operator.fails(&format!("withdraw {paymaster} --amount 1ether {guardian}")).await;
        refused.tells("it would FAIL: only the owner may do this");
        refused.tells(&operator.owner.address.to_string());
        refused.tells("Nothing was sent");
        let refused = operator.fails(&format!("move-to-vault {paymaster} {owner}")).await;
        refused.tells("only the guardian may do this");
        let refused =
            operator.fails(&format!("deposit {paymaster} --amount 1000ether {owner}")).await;
        refused.tells("and needs 1000 ether");
        let refused = operator.fails(&format!("deposit {paymaster} --amount 0wei {owner}")).await;
        refused.tells("the amount is zero");
        let refused = operator.fails(&format!("deposit {paymaster} --amount 5 {owner}")).await;
        refused.tells("an amount needs a unit");
        assert_eq!(nonces().await, before);
        assert_eq!(operator.deposit(entry_points::V07, paymaster).await, ETHER);
    });
}

#[test]
fn a_stake_is_locked_unlocked_and_withdrawn() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "stakes").await;
        let key = format!("--key-file {} --send", operator.owner.file);
        // v0.7 refuses in texts, v0.9 in errors with values.
        for version in ["0.7", "0.9"] {
            let paymaster = operator.deployed(version, "0wei").await;
            let unlock = format!("unlock {paymaster} {key}");
            operator.fails(&unlock).await.tells("there is no stake");
            let withdraw = format!("withdraw-stake {paymaster} {key}");
            operator.fails(&withdraw).await.tells("there is no stake");
            let short = format!("stake {paymaster} --amount 1ether --unstake-delay 0 {key}");
            operator.fails(&short).await.tells("Give an --unstake-delay above zero");

            let stake = format!("stake {paymaster} --amount 1ether --unstake-delay 3 {key}");
            operator.does(&stake).await.tells("stake now          1 ether");
            operator.fails(&withdraw).await.tells("the stake is locked");
            let shown = operator.does(&format!("show {paymaster}")).await;
            shown.tells("unstake delay 3 s, locked");

            operator.does(&unlock).await;
            let twice = operator.fails(&unlock).await;
            twice.tells("the stake is unlocked already");
            twice.tells("unlocked -> unlocked");
            wait::until("the stake can be withdrawn", 30, async || {
                let ran = operator.run(&withdraw).await;
                if ran.success { Ok(()) } else { Err(ran.said) }
            })
            .await;
            operator.does(&format!("show {paymaster}")).await.tells("stake              none");
        }
    });
}

#[test]
fn code_that_is_not_the_sources_is_named() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "code").await;
        let paymaster = operator.deployed("0.9", "1ether").await;
        let other = operator.deployed("0.8", "0wei").await;
        let code = operator.node.code(paymaster).await.unwrap();
        // The last byte is the tail of a revert that no getter reaches; the first breaks every call.
        for offset in [code.len() - 1, 0] {
            let mut changed = code.to_vec();
            changed[offset] ^= 0xff;
            operator.node.set_code(paymaster, &changed.into()).await.unwrap();
            let byte = format!("byte {offset} is 0x{:02x}", code[offset] ^ 0xff);
            operator.fails(&format!("show {paymaster}")).await.tells(&byte);
            let deploy = format!("{} --from {}", operator.deploy("0.9"), operator.owner.address);
            operator.fails(&deploy).await.tells(&byte);
            let from = format!("--from {}", operator.owner.address);
            let deposit = format!("deposit {paymaster} --amount 1wei {from}");
            operator.fails(&deposit).await.tells(&byte);
            let migrate = format!("migrate --from-paymaster {other} --to-paymaster {paymaster}");
            operator.fails(&format!("{migrate} {from}")).await.tells(&byte);
        }
        // An owner gets out of an instance of another release all the same.
        let mut changed = code.to_vec();
        *changed.last_mut().unwrap() ^= 0xff;
        operator.node.set_code(paymaster, &changed.into()).await.unwrap();
        let key = &operator.owner.file;
        let withdraw = format!("withdraw {paymaster} --amount all --key-file {key} --send");
        let withdrawn = operator.does(&withdraw).await;
        withdrawn.tells("an instance of an older release");
        withdrawn.tells("Withdraw everything that is there when it lands");

        let stranger = env.stack.chain.counter;
        operator.fails(&format!("show {stranger}")).await.tells("and should be");
        operator
            .fails(&format!("show {}", Address::repeat_byte(0x33)))
            .await
            .tells("no contract at");
    });
}

#[test]
fn an_immutable_that_is_not_the_instances_is_named() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "immutable").await;
        let (first, second) =
            (operator.deployed("0.9", "0wei").await, operator.deployed("0.8", "0wei").await);
        // Every getter answers, and the domain is another address's.
        let code = operator.node.code(first).await.unwrap();
        operator.node.set_code(second, &code).await.unwrap();
        let shown = operator.fails(&format!("show {second}")).await;
        shown.tells("within the immutable _domainSeparator");
    });
}

#[test]
fn the_configured_paymaster_is_shown_with_its_signers() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "shows").await;
        for (version, paymaster) in &env.endpoints.paymasters {
            let shown = operator.does(&format!("show {paymaster} --json")).await;
            let shown: Value = serde_json::from_str(&shown.out).unwrap();
            assert_eq!(shown["codeMatches"], true);
            assert_eq!(shown["entryPointVersion"], *version);
            assert_eq!(shown["owner"], keys::PAYMASTER_OWNER.to_string());
            assert_eq!(shown["guardian"], keys::PAYMASTER_GUARDIAN.to_string());
            assert_eq!(shown["vault"], keys::PAYMASTER_VAULT.to_string());
            assert_eq!(shown["signers"][0], keys::SIGNER.to_string());
            assert_eq!(shown["configured"]["tenant"], "acme");
            assert_eq!(shown["configured"]["signers"][0]["isSigner"], true);
            assert_eq!(shown["wrong"], serde_json::json!([]));
        }
        let paymaster = operator.deployed("0.7", "0wei").await;
        operator.does(&format!("show {paymaster}")).await.tells("names it nowhere");
    });
}

#[test]
fn a_configured_signer_that_the_contract_does_not_know_is_named() {
    on_shared_stack(async |env| {
        let mut operator = Operator::new(env, "stranger").await;
        let paymaster = env.endpoints.paymasters["0.8"];
        let changed = fs::read_to_string(&operator.config).unwrap();
        let changed =
            changed.replace(&keys::SIGNER_KEY.to_string(), &operator.owner.secret.to_string());
        operator.config = operator.folder.join("changed.toml");
        fs::write(&operator.config, changed).unwrap();
        let shown = operator.fails(&format!("show {paymaster}")).await;
        shown.tells("none of its signers: the chain refuses what it signs");
        shown.tells(&operator.owner.address.to_string());
    });
}

#[test]
fn a_deposit_migrates_and_goes_on_after_the_first_half() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "migrates").await;
        let key = format!("--key-file {} --send", operator.owner.file);
        let (old, new) =
            (operator.deployed("0.7", "3ether").await, operator.deployed("0.9", "0wei").await);
        let deposits = async || {
            (
                operator.deposit(entry_points::V07, old).await,
                operator.deposit(entry_points::V09, new).await,
            )
        };
        let migrate = format!("migrate --from-paymaster {old} --to-paymaster {new}");

        let moved = operator.does(&format!("{migrate} --leave 1ether {key}")).await;
        moved.tells("AA31");
        assert_eq!(moved.out.lines().count(), 2);
        assert_eq!(deposits().await, (ETHER, U256::from(2) * ETHER));

        // A run that stopped between its two transactions leaves the ether with the owner.
        let order = format!("withdraw {old} --amount all --to {} {key}", operator.owner.address);
        operator.does(&order).await;
        let refused = operator.fails(&format!("{migrate} {key}")).await;
        refused.tells("the ether is with the owner");
        refused.tells("--amount");
        let moved = operator.does(&format!("{migrate} --amount 1ether {key}")).await;
        moved.tells("comes from the sender's own ether");
        assert_eq!(moved.out.lines().count(), 1);
        assert_eq!(deposits().await, (U256::ZERO, U256::from(3) * ETHER));
    });
}

#[test]
fn a_migration_shows_both_halves_before_it_sends_the_first() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "halves").await;
        let (old, new) =
            (operator.deployed("0.8", "60ether").await, operator.deployed("0.9", "0wei").await);
        // The owner has less than what moves: it comes from the first half.
        let nonce = operator.nonce(operator.owner.address).await;
        let migrate = format!("migrate --from-paymaster {old} --to-paymaster {new}");
        let planned = operator.does(&format!("{migrate} --from {}", operator.owner.address)).await;
        planned.tells(&format!("nonce {nonce}"));
        planned.tells(&format!("nonce {}", nonce + 1));
        planned.tells("the rest comes from the step before");
        operator.does(&format!("{migrate} --key-file {} --send", operator.owner.file)).await;
        assert_eq!(operator.deposit(entry_points::V09, new).await, U256::from(60) * ETHER);

        let guardian = &operator.guardian.file;
        let back = format!("migrate --from-paymaster {new} --to-paymaster {old}");
        let refused = operator.fails(&format!("{back} --key-file {guardian} --send")).await;
        refused.tells("only the owner may do this");
        let same = format!("migrate --from-paymaster {new} --to-paymaster {new}");
        let same = operator.fails(&format!("{same} --from {}", operator.owner.address)).await;
        same.tells("are the same");
    });
}

#[test]
fn a_key_comes_from_a_file_or_a_keystore_and_never_otherwise() {
    on_shared_stack(async |env| {
        let operator = Operator::new(env, "keys").await;
        let paymaster = operator.deployed("0.9", "0wei").await;
        let deposit = format!("deposit {paymaster} --amount 1gwei");
        operator.fails(&deposit).await.tells("say whose transaction it is");
        let from = format!("--from {}", operator.guardian.address);
        operator.fails(&format!("{deposit} {from} --send")).await.tells("--send needs the key");
        let other = format!("{deposit} {from} --key-file {}", operator.owner.file);
        operator.fails(&other).await.tells("and the key is that of");

        let (keystore, password) = keystore(env, &operator).await;
        let locked =
            format!("{deposit} --keystore {keystore} --password-file {}", operator.owner.file);
        operator.fails(&locked).await.tells("does not open");
        let opened = format!("{deposit} --keystore {keystore} --password-file {password} --send");
        operator.does(&opened).await;
        let held = operator.deposit(entry_points::V09, paymaster).await;
        assert_eq!(held, U256::from(1_000_000_000));
    });
}

/// The PBKDF2 test vector of the Web3 Secret Storage definition in a file, with its password, and ether for its account.
async fn keystore(env: &Env, operator: &Operator<'_>) -> (String, String) {
    const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr",
        "cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
        "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    let account: Address = "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b".parse().unwrap();
    env.stack.node().set_balance(account, ETHER).await.unwrap();
    let (keystore, password) =
        (operator.folder.join("keystore.json"), operator.folder.join("password"));
    fs::write(&keystore, KEYSTORE).unwrap();
    fs::write(&password, "testpassword\n").unwrap();
    (keystore.display().to_string(), password.display().to_string())
}
