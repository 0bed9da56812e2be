//! An operator at a shell: keys in files, and the commands of `stipend admin paymaster`.

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
    signers::local::PrivateKeySigner,
};
use devstack::{anvil::Node, entry_points::IEntryPoint, keys, service::ServiceOptions};
use e2e::Env;
use tokio::process::Command;

/// One ether, in wei.
pub(crate) const ETHER: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// A key of the operator's, in a file, with ether for fees.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) file: String,
    pub(crate) secret: B256,
    pub(crate) address: Address,
}

/// Somebody with an owner's and a guardian's key of their own, so that nobody else's nonces are in the way.
#[derive(Debug)]
pub(crate) struct Operator<'a> {
    pub(crate) node: &'a Node,
    pub(crate) chain_id: u64,
    pub(crate) binary: PathBuf,
    /// A configuration with the chain in it, whose database nobody can reach.
    pub(crate) config: PathBuf,
    pub(crate) owner: Key,
    pub(crate) guardian: Key,
    pub(crate) vault: Address,
    /// Where the keys are, and whatever else the operator writes.
    pub(crate) folder: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    /// What a script takes on.
    pub(crate) out: String,
    /// What people read.
    pub(crate) said: String,
}

impl<'a> Operator<'a> {
    /// Makes the keys and gives them ether.
    pub(crate) async fn new(env: &'a Env, name: &str) -> Self {
        let folder = env.stack.run.logs().join(format!("operator-{name}"));
        fs::create_dir_all(&folder).unwrap();
        let node = env.stack.node();
        let key = async |role: &str| {
            let secret = keccak256(format!("{role} of {name}"));
            let address = PrivateKeySigner::from_bytes(&secret).unwrap().address();
            let file = folder.join(format!("{role}.key"));
            fs::write(&file, secret.to_string()).unwrap();
            node.set_balance(address, U256::from(100) * ETHER).await.unwrap();
            Key { file: file.display().to_string(), secret, address }
        };
        Self {
            owner: key("owner").await,
            guardian: key("guardian").await,
            vault: Address::from_word(keccak256(format!("vault of {name}"))),
            chain_id: env.endpoints.chain_id,
            binary: ServiceOptions::debug_binary(&env.stack.tools),
            config: env.stack.run.logs().join(format!("{}.toml", env.options.database)),
            node,
            folder,
        }
    }

    /// Runs `stipend admin paymaster …` with words that hold no spaces.
    pub(crate) async fn run(&self, words: &str) -> Ran {
        let mut command = Command::new(&self.binary);
        command
            .args(["admin", "paymaster"])
            .args(words.split_whitespace())
            .args(["--chain", &self.chain_id.to_string()])
            .env("STIPEND_CONFIG", &self.config)
            // None of these commands may need the database.
            .env("STIPEND__DATABASE__URL", "postgres://nobody@127.0.0.1:1/none")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ran::from(command.output().await.unwrap())
    }

    /// The same, which must succeed.
    pub(crate) async fn does(&self, words: &str) -> Ran {
        let ran = self.run(words).await;
        assert!(ran.success, "{words}: {}{}", ran.out, ran.said);
        ran
    }

    /// The same, which must fail.
    pub(crate) async fn fails(&self, words: &str) -> Ran {
        let ran = self.run(words).await;
        assert!(!ran.success, "{words}: {}{}", ran.out, ran.said);
        ran
    }

    /// The words that deploy an instance with the development signers.
    pub(crate) fn deploy(&self, entry_point: &str) -> String {
        format!(
            "deploy --entry-point {entry_point} --owner {} --signer {} --signer {} --guardian {} --vault {}",
            self.owner.address,
            keys::SIGNER,
            keys::STANDBY,
            self.guardian.address,
            self.vault
        )
    }

    /// Deploys an instance and fills its deposit.
    pub(crate) async fn deployed(&self, entry_point: &str, deposit: &str) -> Address {
        let key = &self.owner.file;
        let deploy = format!("{} --key-file {key} --send", self.deploy(entry_point));
        let paymaster = self.does(&deploy).await.out.trim().to_owned();
        if deposit != "0wei" {
            let order = format!("deposit {paymaster} --amount {deposit} --key-file {key} --send");
            self.does(&order).await;
        }
        paymaster.parse().unwrap()
    }

    /// A paymaster's deposit in an EntryPoint.
    pub(crate) async fn deposit(&self, entry_point: Address, paymaster: Address) -> U256 {
        self.node
            .view(entry_point, &IEntryPoint::balanceOfCall { account: paymaster })
            .await
            .unwrap()
    }

    /// An account's own ether.
    pub(crate) async fn balance(&self, account: Address) -> U256 {
        self.node.provider().get_balance(account).await.unwrap()
    }

    /// How many transactions an account has sent.
    pub(crate) async fn nonce(&self, account: Address) -> u64 {
        self.node.provider().get_transaction_count(account).await.unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Asserts that it told people this.
    pub(crate) fn tells(&self, text: &str) {
        assert!(self.out.contains(text) || self.said.contains(text), "{text}: {self:#?}");
    }
}
