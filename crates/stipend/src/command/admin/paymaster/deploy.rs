//! `stipend admin paymaster deploy`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use chain::RpcError;
use chain::transactions::CallRequest;
use clap::Args;
use erc4337::EntryPointVersion;
use tokio_util::sync::CancellationToken;

use super::artifact::{Artifact, MAX_SIGNERS};
use super::contract::Roles;
use super::error::PaymasterError;
use super::salt::Search;
use super::send::Outcome;
use super::session::{Place, Sending, Session};
use super::step::{Proof, Step, line};
use crate::config::Config;

/// The proxy that deploys by CREATE2, at this address on most chains: it takes `salt ‖ creation code`
/// (https://github.com/Arachnid/deterministic-deployment-proxy).
const DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// The most leading zero bytes that can be asked for. Each takes 256 times as long as the one before.
const MOST_ZEROS: u8 = 6;

/// What to deploy, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Deploy {
    /// The EntryPoint: 0.7, 0.8, 0.9, or its address.
    #[arg(long, value_name = "VERSION|ADDRESS", value_parser = entry_point)]
    entry_point: Address,
    /// Who withdraws and manages the stake. Keep its key offline.
    #[arg(long)]
    owner: Address,
    /// Whose signatures make it pay: one to four, the one in use first, because it is the cheapest.
    #[arg(long = "signer", value_name = "ADDRESS", required = true)]
    signers: Vec<Address>,
    /// Who may send the deposit to the vault, and may do nothing else.
    #[arg(long)]
    guardian: Address,
    /// Where the guardian sends it. It must take plain ether.
    #[arg(long)]
    vault: Address,
    /// The salt, 32 bytes in hex. Default: zero.
    #[arg(long, conflicts_with = "leading_zero_bytes")]
    salt: Option<B256>,
    /// Search for the lowest salt that gives an address with so many leading zero bytes; each makes an operation 12 gas
    /// cheaper.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_ZEROS)))]
    leading_zero_bytes: Option<u8>,
    /// The most salts to look at.
    #[arg(long, requires = "leading_zero_bytes", default_value_t = 1_000_000_000)]
    most_tries: u64,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    sending: Sending,
}

fn entry_point(text: &str) -> Result<Address, String> {
    if let Ok(version) = text.parse::<EntryPointVersion>() {
        return Ok(version.canonical_address());
    }
    text.parse().map_err(|_| "must be 0.7, 0.8, 0.9 or an address".to_owned())
}

/// Deploys an instance, or finds it; prints its address to standard output.
pub(crate) async fn run(
    deploy: Deploy,
    config: Option<&Config>,
) -> Result<ExitCode, PaymasterError> {
    let roles = Roles {
        entry_point: deploy.entry_point,
        owner: deploy.owner,
        signers: deploy.signers,
        guardian: deploy.guardian,
        vault: deploy.vault,
    };
    check_roles(&roles)?;
    let artifact = Artifact::embedded()?;
    let code = artifact.creation_code(&roles);
    let session = Session::open(&deploy.place, deploy.sending, config).await?;
    check_chain(&session, &roles).await?;
    let salt = match deploy.leading_zero_bytes {
        None => deploy.salt.unwrap_or_default(),
        Some(zeros) => {
            let search = Search {
                deployer: DEPLOYER,
                code_hash: keccak256(&code),
                zeros: zeros.into(),
                most_tries: deploy.most_tries,
            };
            find(search).await?
        }
    };
    let paymaster = DEPLOYER.create2(salt, keccak256(&code));
    print_instance(&roles, salt, paymaster);
    if verify(&session, &artifact, &roles, paymaster).await? {
        eprintln!("It stands there already, and its code is ours byte for byte: nothing to do.");
        println!("{paymaster}");
        return Ok(ExitCode::SUCCESS);
    }
    let step = step(&session, salt, &code, paymaster);
    let outcome = session.carry_out(&[(step, None)]).await?;
    if let Outcome::Done(hashes) = &outcome {
        if !verify(&session, &artifact, &roles, paymaster).await? {
            let hash = hashes.first().copied().unwrap_or_default();
            let what = format!("there is no code at {paymaster}");
            return Err(PaymasterError::NoEffect { hash, what });
        }
        eprintln!(
            "It is deployed, and its code is ours byte for byte. Its deposit is empty: `deposit` comes next."
        );
    }
    if outcome != Outcome::WouldFail {
        println!("{paymaster}");
    }
    Ok(outcome.exit_code())
}

/// What the constructor would refuse, said before anything is asked of a node.
fn check_roles(roles: &Roles) -> Result<(), PaymasterError> {
    let refuse = |text: String| Err(PaymasterError::Argument(text));
    if roles.signers.len() > MAX_SIGNERS {
        return refuse(format!(
            "{} signers are given, and {MAX_SIGNERS} is the most",
            roles.signers.len()
        ));
    }
    let distinct: BTreeSet<_> = roles.signers.iter().collect();
    if distinct.len() != roles.signers.len() {
        return refuse("a signer is given twice".to_owned());
    }
    let named =
        [("--owner", roles.owner), ("--guardian", roles.guardian), ("--vault", roles.vault)];
    let signers = roles.signers.iter().map(|signer| ("--signer", *signer));
    for (name, address) in named.into_iter().chain(signers) {
        if address.is_zero() {
            return refuse(format!("{name} is the zero address"));
        }
    }
    if roles.vault == roles.entry_point {
        return refuse("the vault is the EntryPoint, where the ether would be stuck".to_owned());
    }
    Ok(())
}

/// Whether the chain has what the instance needs.
async fn check_chain(session: &Session, roles: &Roles) -> Result<(), PaymasterError> {
    let (node, chain) = (session.node(), session.chain());
    if node.code(DEPLOYER).await?.is_empty() {
        return Err(PaymasterError::NoDeployer { chain, deployer: DEPLOYER });
    }
    let entry_point = roles.entry_point;
    if node.code(entry_point).await?.is_empty() {
        let text = format!("there is no EntryPoint at {entry_point} on chain {chain}");
        return Err(PaymasterError::Argument(text));
    }
    // An EntryPoint without any ether cannot be asked to try.
    if node.balance(entry_point).await?.is_zero() {
        return Ok(());
    }
    let transfer = CallRequest {
        from: entry_point,
        to: roles.vault,
        value: U256::from(1),
        input: Bytes::new(),
    };
    match node.simulate(&transfer).await {
        Ok(_) => Ok(()),
        Err(RpcError::Rpc { message, .. }) => Err(PaymasterError::Argument(format!(
            "the vault {} does not take plain ether from the EntryPoint ({message}), so that the guardian could save nothing",
            roles.vault
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Searches on every processor; Ctrl-C ends it.
async fn find(search: Search) -> Result<B256, PaymasterError> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let searching = tokio::task::spawn_blocking(move || search.run(&stopped));
    let mut searching = core::pin::pin!(searching);
    let found = tokio::select! {
        found = &mut searching => found,
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            searching.await
        }
    };
    found.map_err(|_| PaymasterError::Stopped)?
}

fn print_instance(roles: &Roles, salt: B256, paymaster: Address) {
    eprintln!("The paymaster {paymaster}");
    let version = EntryPointVersion::from_canonical(roles.entry_point);
    let version = version
        .map_or("at an address of its own".to_owned(), |version| format!("version {version}"));
    line("EntryPoint", &format!("{} ({version})", roles.entry_point));
    line("owner", &roles.owner.to_string());
    for (number, signer) in (1..).zip(&roles.signers) {
        line(&format!("signer {number}"), &signer.to_string());
    }
    line("guardian", &roles.guardian.to_string());
    line("vault", &roles.vault.to_string());
    line("salt", &salt.to_string());
}

fn step(session: &Session, salt: B256, code: &Bytes, paymaster: Address) -> Step {
    Step {
        title: format!("Deploy the paymaster to {paymaster}"),
        call: CallRequest {
            from: session.sender,
            to: DEPLOYER,
            value: U256::ZERO,
            input: [salt.as_slice(), code.as_ref()].concat().into(),
        },
        decoded: format!("CREATE2 with the salt above and {} bytes of creation code", code.len()),
        effects: vec![("code".to_owned(), "none".to_owned(), "StipendPaymaster".to_owned())],
        returns: Some(paymaster.to_vec().into()),
        arriving: U256::ZERO,
        brings: U256::ZERO,
        passes_on: false,
        proof: Proof::Code,
    }
}

/// Whether the instance stands there; an error when something else does.
async fn verify(
    session: &Session,
    artifact: &Artifact,
    roles: &Roles,
    paymaster: Address,
) -> Result<bool, PaymasterError> {
    let code = session.node().code(paymaster).await?;
    if code.is_empty() {
        return Ok(false);
    }
    match artifact.compare_whole(&code, roles, (session.chain(), paymaster))? {
        None => Ok(true),
        Some(difference) => Err(PaymasterError::Another { address: paymaster, difference }),
    }
}
