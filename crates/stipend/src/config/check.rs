//! What the types cannot say: settings that contradict each other or the rules.

use std::collections::BTreeSet;

use domain::window::{MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS};

use super::{Chain, Config, Environment, Signer};

/// As many as the contract can have.
const MAX_SIGNERS: usize = 4;

/// Twice as long as keys are remembered, so that a month is long over when it leaves.
const MIN_ARCHIVE_DAYS: u32 = 62;

/// Every error of a configuration, in words that name the setting.
pub(super) fn errors(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    let mut refuse = |wrong: bool, text: String| {
        if wrong {
            errors.push(text);
        }
    };
    let validity = config.sponsorship.validity_seconds;
    refuse(
        !(MIN_VALIDITY_SECONDS..=MAX_VALIDITY_SECONDS).contains(&validity),
        format!(
            "sponsorship.validity_seconds is {validity}, must be {MIN_VALIDITY_SECONDS} to {MAX_VALIDITY_SECONDS}"
        ),
    );
    for (chain, pricing) in &config.pricing {
        refuse(
            pricing.points_per_e18_wei.0.is_zero(),
            format!("pricing.{chain}.points_per_e18_wei is 0"),
        );
        refuse(
            pricing.markup_bps > 1_000_000,
            format!("pricing.{chain}.markup_bps is above 1000000, a hundred times the price"),
        );
        refuse(
            !config.chains.iter().any(|served| served.id.to_string() == *chain),
            format!("pricing.{chain}: there is no such chain under [[chains]]"),
        );
    }
    refuse(config.database.max_connections == 0, "database.max_connections is 0".into());
    refuse(config.http.max_batch == 0, "http.max_batch is 0".into());
    refuse(config.http.request_timeout_seconds == 0, "http.request_timeout_seconds is 0".into());
    refuse(
        config.worker.poll_interval_millis < 10,
        "worker.poll_interval_millis is below 10".into(),
    );
    for (name, bps) in [
        ("pre_verification_gas_bps", config.bounds.pre_verification_gas_bps),
        ("gas_limits_bps", config.bounds.gas_limits_bps),
    ] {
        refuse(
            bps < 10_000,
            format!("bounds.{name} is below 10000, which refuses honest operations"),
        );
    }
    if config.environment == Environment::Production {
        refuse(
            config.dev.auto_provision.is_some(),
            "dev.auto_provision gives points away: environment must be \"development\"".into(),
        );
    }
    errors.extend(archive_errors(config));
    for (name, signer) in &config.signers {
        errors.extend(signer_errors(name, signer, config.environment));
    }
    let mut ids = BTreeSet::new();
    for chain in &config.chains {
        if !ids.insert(chain.id) {
            errors.push(format!("chain {} stands twice", chain.id));
        }
        errors.extend(chain_errors(chain, config));
    }
    errors
}

fn archive_errors(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    let Some(days) = config.ledger.archive_after_days else {
        if config.ledger.archive_dir.is_some() {
            errors.push("ledger.archive_dir needs ledger.archive_after_days".into());
        }
        return errors;
    };
    if days < MIN_ARCHIVE_DAYS {
        errors.push(format!(
            "ledger.archive_after_days is {days}, must be {MIN_ARCHIVE_DAYS} or more: closed reservations and their entries are needed so long"
        ));
    }
    if config.ledger.archive_dir.is_none() {
        errors.push("ledger.archive_after_days needs ledger.archive_dir".into());
    }
    if config.database.maintenance_url.is_none() {
        errors.push("ledger.archive_after_days needs database.maintenance_url".into());
    }
    errors
}

fn signer_errors(name: &str, signer: &Signer, environment: Environment) -> Vec<String> {
    let mut errors = Vec::new();
    let sources = [signer.keystore.is_some(), signer.key_file.is_some(), signer.key.is_some()];
    if sources.into_iter().filter(|given| *given).count() != 1 {
        errors.push(format!("signers.{name} needs exactly one of keystore, key_file and key"));
    }
    if signer.keystore.is_some() != signer.password_file.is_some() {
        errors.push(format!("signers.{name}: keystore and password_file go together"));
    }
    if signer.key.is_some() && environment == Environment::Production {
        errors.push(format!(
            "signers.{name}.key stands in the configuration: environment must be \"development\""
        ));
    }
    errors
}

fn chain_errors(chain: &Chain, config: &Config) -> Vec<String> {
    let id = chain.id;
    let mut errors = Vec::new();
    if i64::try_from(id).is_err() {
        errors.push(format!("chain {id}: the id is 2^63 or more"));
    }
    if chain.rpc_urls.is_empty() {
        errors.push(format!("chain {id}: rpc_urls is empty"));
    }
    if chain.final_quorum == Some(0) || chain.final_quorum() > chain.rpc_urls.len().max(1) {
        errors.push(format!(
            "chain {id}: final_quorum is between 1 and the number of rpc_urls, {}",
            chain.rpc_urls.len()
        ));
    }
    if chain.bundler_urls.is_empty() {
        errors.push(format!("chain {id}: bundler_urls is empty"));
    }
    if !config.pricing.contains_key(&id.to_string()) {
        errors.push(format!("chain {id}: there is no [pricing.{id}]"));
    }
    if chain.paymasters.is_empty() {
        errors.push(format!("chain {id}: there is no paymaster"));
    }
    let mut addresses = BTreeSet::new();
    let mut served = BTreeSet::new();
    for paymaster in &chain.paymasters {
        let address = paymaster.address;
        if !addresses.insert(address) {
            errors.push(format!("chain {id}: paymaster {address} stands twice"));
        }
        if !served.insert((&paymaster.tenant, paymaster.entry_point())) {
            errors.push(format!(
                "chain {id}: tenant {} has two paymasters for EntryPoint {}",
                paymaster.tenant,
                paymaster.entry_point()
            ));
        }
        if !(1..=MAX_SIGNERS).contains(&paymaster.signers.len()) {
            errors.push(format!(
                "chain {id}: paymaster {address} needs one to {MAX_SIGNERS} signers"
            ));
        }
        for signer in &paymaster.signers {
            if !config.signers.contains_key(signer) {
                errors.push(format!(
                    "chain {id}: paymaster {address} names signer {signer}, which is not under [signers]"
                ));
            }
        }
    }
    errors
}
