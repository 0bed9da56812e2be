//! `stipend doctor`: whether the world is what the configuration says.

use std::process::ExitCode;

use alloy_primitives::Address;
use chain::node::Node;
use domain::ChainId;
use service::Causes;

use crate::config::{Chain, Config};
use crate::wiring;

/// What was found, line by line.
#[derive(Debug, Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    fn note<T, E>(&mut self, what: &str, found: Result<T, E>) -> Option<T>
    where
        E: core::error::Error + 'static,
    {
        match found {
            Ok(value) => {
                println!("ok    {what}");
                Some(value)
            }
            Err(error) => {
                self.complain(what, &Causes(&error).to_string());
                None
            }
        }
    }

    fn expect(&mut self, holds: bool, what: &str, otherwise: &str) {
        if holds {
            println!("ok    {what}");
        } else {
            self.complain(what, otherwise);
        }
    }

    fn complain(&mut self, what: &str, why: &str) {
        self.bad = self.bad.saturating_add(1);
        println!("WRONG {what}: {why}");
    }
}

pub(crate) async fn run(config: &Config) -> Result<ExitCode, crate::Failure> {
    let mut findings = Findings::default();
    let store = wiring::store(config)?;
    findings.note("database answers and its schema fits", store.check().await);
    let signers = findings.note("signers load", wiring::signers(config)).unwrap_or_default();
    for chain in &config.chains {
        let name = format!("chain {}", chain.id);
        let Some((node, bundler)) = findings.note(&name, wiring::connect(chain)) else { continue };
        if let Some(id) = findings.note(&format!("{name}: node answers"), node.chain_id().await) {
            let otherwise = format!("it is on chain {id}");
            findings.expect(id == ChainId(chain.id), &format!("{name}: node's chain"), &otherwise);
        }
        let served = bundler.supported_entry_points().await;
        let served = findings.note(&format!("{name}: bundler answers"), served).unwrap_or_default();
        for paymaster in &chain.paymasters {
            let named = paymaster.signers.iter().filter_map(|signer| signers.get(signer));
            let signers: Vec<_> = named.map(|signer| signer.address()).collect();
            check_paymaster(&mut findings, &name, &node, paymaster, &signers).await;
            check_active_signer(&mut findings, &store, chain, paymaster, &signers).await;
            findings.expect(
                served.contains(&paymaster.entry_point()),
                &format!("{name}: bundler serves EntryPoint {}", paymaster.version),
                "it does not",
            );
        }
        check_cursor(&mut findings, &store, chain).await;
    }
    println!("{} wrong", findings.bad);
    Ok(if findings.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check_paymaster(
    findings: &mut Findings,
    chain: &str,
    node: &Node,
    paymaster: &crate::config::Paymaster,
    signers: &[Address],
) {
    let name = format!("{chain}: paymaster {}", paymaster.address);
    let facts = node.paymaster(paymaster.address).await;
    let Some(facts) = findings.note(&format!("{name} answers"), facts) else { return };
    findings.expect(
        facts.entry_point == paymaster.entry_point(),
        &format!("{name}: EntryPoint"),
        &format!("the contract is bound to {}", facts.entry_point),
    );
    for signer in signers {
        findings.expect(
            facts.signers.contains(signer),
            &format!("{name}: signer {signer}"),
            "the contract does not know it: every signature would be refused on chain",
        );
    }
    let head = node.head().await;
    let Some(head) = findings.note(&format!("{chain}: head"), head) else { return };
    let deposit = node.deposit(paymaster.entry_point(), paymaster.address, head.hash).await;
    if let Some(deposit) = findings.note(&format!("{name}: deposit is readable"), deposit) {
        findings.expect(
            !deposit.is_zero(),
            &format!("{name}: deposit {deposit} wei"),
            "it is empty",
        );
    }
}

/// The key that an operator chose must be one that `serve` has.
async fn check_active_signer(
    findings: &mut Findings,
    store: &store::Store,
    chain: &Chain,
    paymaster: &crate::config::Paymaster,
    signers: &[Address],
) {
    let name = format!("chain {}: paymaster {}: active signer", chain.id, paymaster.address);
    let chosen = store.active_signer(ChainId(chain.id), paymaster.address).await;
    if let Some(chosen) = findings.note(&name, chosen).flatten() {
        findings.expect(
            signers.contains(&chosen),
            &format!("{name} {chosen}"),
            "it is not among the configured signers: choose one of them with `stipend admin paymaster rotate`",
        );
    }
}

async fn check_cursor(findings: &mut Findings, store: &store::Store, chain: &Chain) {
    let name = format!("chain {}: ingestion", chain.id);
    match findings.note(&name, store.cursor(ChainId(chain.id)).await).flatten() {
        Some(cursor) => match cursor.halt_reason.or(cursor.doubt) {
            Some(reason) => findings.complain(&name, &format!("halted: {reason}")),
            None => println!(
                "ok    {name} at block {}, final {}",
                cursor.head.number, cursor.final_block.number
            ),
        },
        None => println!("ok    {name} has not started yet"),
    }
}
