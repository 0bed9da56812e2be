//! `stipend admin paymaster show`.

use std::process::ExitCode;

use alloy_primitives::{Address, U256};
use clap::Args;
use domain::chain_fact::ChainTime;
use erc4337::EntryPointVersion;
use serde_json::{Value, json};

use super::amount::Amount;
use super::artifact::Artifact;
use super::contract::{IStakes, Instance};
use super::error::PaymasterError;
use super::session::{Connection, Place};
use crate::config::{self, Config};
use crate::wiring;

/// What to show.
#[derive(Clone, Debug, Args)]
pub(crate) struct Show {
    /// The paymaster's address.
    paymaster: Address,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What is known of an instance.
#[derive(Debug)]
struct Facts<'a> {
    instance: Instance,
    connection: Connection,
    stakes: IStakes::DepositInfo,
    now: ChainTime,
    compiler: String,
    configured: Option<Configured<'a>>,
}

/// What the configuration says of it.
#[derive(Debug)]
struct Configured<'a> {
    paymaster: &'a config::Paymaster,
    signers: Vec<Named>,
}

/// A signer that the configuration gives the paymaster.
#[derive(Debug)]
struct Named {
    name: String,
    /// Its address, or why it is not known here.
    address: Result<Address, String>,
    /// Whether the contract takes its signatures.
    is_signer: bool,
}

/// Prints what an instance is; fails when something is wrong with it.
pub(crate) async fn run(show: Show, config: Option<&Config>) -> Result<ExitCode, PaymasterError> {
    let connection = Connection::open(&show.place, config).await?;
    let node = &connection.node;
    let instance = Instance::read(node, connection.chain, show.paymaster).await?;
    let stakes = instance.stakes(node, None).await?;
    let now = node.head().await?.timestamp;
    let configured = config.and_then(|config| configured(config, &instance, connection.chain.0));
    let compiler = Artifact::embedded()?.compiler;
    let facts = Facts { instance, connection, stakes, now, compiler, configured };
    let wrong = facts.wrong();
    if show.json {
        println!("{:#}", facts.to_json(&wrong));
    } else {
        facts.print();
        for wrong in &wrong {
            println!("WRONG              {wrong}");
        }
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn configured<'a>(config: &'a Config, instance: &Instance, chain: u64) -> Option<Configured<'a>> {
    let chain = config.chains.iter().find(|configured| configured.id == chain)?;
    let mut paymasters = chain.paymasters.iter();
    let paymaster = paymasters.find(|paymaster| paymaster.address == instance.address)?;
    let loaded = wiring::signers(config);
    let named = |name: &String| {
        let address = match &loaded {
            Ok(signers) => signers.get(name).map(|signer| signer.address()).ok_or_else(String::new),
            Err(error) => Err(error.to_string()),
        };
        let is_signer =
            address.as_ref().is_ok_and(|address| instance.roles.signers.contains(address));
        Named { name: name.clone(), address, is_signer }
    };
    let signers = paymaster.signers.iter().map(named).collect();
    Some(Configured { paymaster, signers })
}

impl Facts<'_> {
    fn version(&self) -> Option<EntryPointVersion> {
        let configured = self.configured.as_ref();
        let configured = configured
            .filter(|found| found.paymaster.entry_point() == self.instance.roles.entry_point)
            .map(|found| found.paymaster.version);
        configured.or_else(|| EntryPointVersion::from_canonical(self.instance.roles.entry_point))
    }

    /// Everything that is not as it should be, in words.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(difference) = &self.instance.difference {
            wrong.push(format!(
                "the code is not what this release compiles StipendPaymaster to: {difference}"
            ));
        }
        let Some(configured) = &self.configured else { return wrong };
        let (bound, wanted) = (self.instance.roles.entry_point, configured.paymaster.entry_point());
        if bound != wanted {
            wrong.push(format!("it is configured for EntryPoint {wanted}, and serves {bound}"));
        }
        for signer in &configured.signers {
            match signer.address {
                Ok(address) if !signer.is_signer => wrong.push(format!(
                    "the configured signer {} ({address}) is none of its signers: the chain refuses what it signs",
                    signer.name
                )),
                Ok(_) | Err(_) => {}
            }
        }
        wrong
    }

    fn print(&self) {
        let (instance, roles) = (&self.instance, &self.instance.roles);
        let line = |what: &str, text: &str| println!("{what:<18} {text}");
        line("paymaster", &format!("{} on chain {}", instance.address, self.connection.chain));
        if instance.difference.is_none() {
            line("code", &format!("StipendPaymaster, byte for byte (solc {})", self.compiler));
        }
        let version = self.version();
        let version =
            version.map_or("version unknown".to_owned(), |version| format!("version {version}"));
        line("EntryPoint", &format!("{} ({version})", roles.entry_point));
        line("owner", &roles.owner.to_string());
        line("pending owner", &or_none(instance.pending_owner));
        for (number, signer) in (1..).zip(&roles.signers) {
            line(&format!("signer {number}"), &signer.to_string());
        }
        line("guardian", &roles.guardian.to_string());
        line("vault", &roles.vault.to_string());
        line("deposit", &Amount(self.stakes.deposit).to_string());
        line("stake", &self.stake_in_words());
        match &self.configured {
            None => line("configuration", "names it nowhere"),
            Some(configured) => {
                line("configuration", &format!("of tenant {}", configured.paymaster.tenant));
                for signer in &configured.signers {
                    line(&format!("signs as {}", signer.name), &signer.in_words());
                }
            }
        }
    }

    fn stake_in_words(&self) -> String {
        let IStakes::DepositInfo { staked, stake, unstakeDelaySec, withdrawTime, .. } =
            &self.stakes;
        if stake.is_zero() {
            return "none".to_owned();
        }
        let state = match (*staked, self.seconds_until_withdrawal()) {
            (true, _) => "locked".to_owned(),
            (false, 0) => "unlocked, can be withdrawn now".to_owned(),
            (false, seconds) => {
                format!("unlocked, can be withdrawn in {seconds} s (at {withdrawTime})")
            }
        };
        format!("{}, unstake delay {unstakeDelaySec} s, {state}", Amount(stake.to()))
    }

    /// By the chain's clock.
    fn seconds_until_withdrawal(&self) -> u64 {
        let due: u64 = self.stakes.withdrawTime.to();
        due.saturating_sub(self.now.0)
    }

    fn to_json(&self, wrong: &[String]) -> Value {
        let roles = &self.instance.roles;
        let stake: U256 = self.stakes.stake.to();
        let withdraw_time: u64 = self.stakes.withdrawTime.to();
        json!({
            "paymaster": self.instance.address.to_string(),
            "chainId": self.connection.chain.0,
            "codeMatches": self.instance.difference.is_none(),
            "entryPoint": roles.entry_point.to_string(),
            "entryPointVersion": self.version().map(EntryPointVersion::as_str),
            "owner": roles.owner.to_string(),
            "pendingOwner": (!self.instance.pending_owner.is_zero())
                .then(|| self.instance.pending_owner.to_string()),
            "signers": roles.signers.iter().map(Address::to_string).collect::<Vec<_>>(),
            "guardian": roles.guardian.to_string(),
            "vault": roles.vault.to_string(),
            "depositWei": self.stakes.deposit.to_string(),
            "stakeWei": stake.to_string(),
            "staked": self.stakes.staked,
            "unstakeDelaySeconds": self.stakes.unstakeDelaySec,
            "withdrawTime": (withdraw_time > 0).then_some(withdraw_time),
            "configured": self.configured.as_ref().map(Configured::to_json),
            "wrong": wrong,
        })
    }
}

impl Configured<'_> {
    fn to_json(&self) -> Value {
        let signers: Vec<Value> = self
            .signers
            .iter()
            .map(|signer| {
                let address = signer.address.as_ref().ok().map(Address::to_string);
                json!({ "name": signer.name, "address": address, "isSigner": signer.is_signer })
            })
            .collect();
        json!({ "tenant": self.paymaster.tenant, "signers": signers })
    }
}

impl Named {
    fn in_words(&self) -> String {
        match &self.address {
            Ok(address) if self.is_signer => format!("{address}, which is one of its signers"),
            Ok(address) => format!("{address}, which is NONE of its signers"),
            Err(reason) => format!("its address is not known here: {reason}"),
        }
    }
}

fn or_none(address: Address) -> String {
    if address.is_zero() { "none".to_owned() } else { address.to_string() }
}
