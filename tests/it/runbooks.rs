//! The runbooks of `docs/contracts.md` do what they say: their commands run as they stand there.

use std::{collections::BTreeMap, env, fs, process::Stdio};

use alloy::{
    primitives::{Address, U256, keccak256},
    signers::local::PrivateKeySigner,
};
use devstack::{
    Deployment, DeploymentOptions,
    entry_points::{V08, V09},
    keys,
    service::Service,
};
use e2e::{Env, Wallet, api::Api, on_shared_stack, user::on_next_key};
use tokio::process::Command;

use crate::operator::{ETHER, Operator, Ran};

#[test]
fn a_leaked_signer_is_locked_out_by_the_guardian() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "guardian").await;
        let old = scene.old;
        scene.follows("leaked-signer", &["guardian", "deploy", "fill", "configure"]).await;
        assert_eq!(scene.operator.balance(scene.operator.vault).await, U256::from(3) * ETHER);
        assert_eq!(scene.operator.deposit(V09, old).await, U256::ZERO);
        scene.serves_the_new_one_with(U256::from(2) * ETHER, "leaked-signer").await;
    });
}

#[test]
fn a_leaked_signer_is_locked_out_by_the_owner() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "owner").await;
        let (owner, old) = (scene.operator.owner.address, scene.old);
        let before = scene.operator.balance(owner).await;
        scene.follows("leaked-signer", &["owner", "deploy", "fill", "configure"]).await;
        // Three come back and two go on; the fees are small.
        let gained = scene.operator.balance(owner).await - before;
        assert!(gained < ETHER && gained > ETHER / U256::from(2), "{gained}");
        assert_eq!(scene.operator.deposit(V09, old).await, U256::ZERO);
        scene.serves_the_new_one_with(U256::from(2) * ETHER, "leaked-signer").await;
    });
}

#[test]
fn every_paymaster_that_trusts_the_leaked_key_is_emptied_and_each_is_replaced_by_itself() {
    on_shared_stack(async |env| {
        let mut scene = Scene::with_two(env, "two").await;
        let (old, other) = (scene.old, scene.other.unwrap());
        scene.follows("leaked-signer", &["guardian", "deploy", "fill", "configure"]).await;
        assert_eq!(scene.operator.deposit(V09, old).await, U256::ZERO);
        assert_eq!(scene.operator.deposit(V08, other).await, U256::ZERO);
        assert_eq!(scene.operator.balance(scene.operator.vault).await, U256::from(4) * ETHER);
        let config = fs::read_to_string(&scene.operator.config).unwrap();
        let signers_of = |paymaster: Address| {
            let (_, block) = config.split_once(&paymaster.to_string()).unwrap();
            block.lines().find(|line| line.starts_with("signers")).unwrap().to_owned()
        };
        assert_eq!(signers_of(other), "signers = [\"dev\", \"standby\"]");
        assert_eq!(signers_of(scene.new_paymaster()), "signers = [\"fresh\", \"spare\"]");
        // Safe to repeat.
        scene.follows("leaked-signer", &["guardian", "owner"]).await;
    });
}

#[test]
fn a_paymaster_that_cannot_be_emptied_does_not_keep_the_others_from_it() {
    on_shared_stack(async |env| {
        let mut scene = Scene::with_two(env, "stuck").await;
        let nobody = Address::repeat_byte(0x44);
        let olds = format!("{nobody} {} {}", scene.old, scene.other.unwrap());
        scene.variables.insert("OLDS", olds);
        for step in ["guardian", "owner"] {
            let ran = scene.runs("leaked-signer", &[step]).await;
            assert!(!ran.success);
            ran.tells(&format!("still to be emptied: {nobody}\n"));
        }
        assert_eq!(scene.operator.balance(scene.operator.vault).await, U256::from(4) * ETHER);
    });
}

#[test]
fn the_service_refuses_while_the_deposit_is_away() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "away").await;
        let user = env.user("away", Wallet::EIP7702_09).await;
        let op = user.estimates().await;
        let api = Api::new(&scene.deployment.endpoints);
        api.call("pm_getPaymasterData", user.paymaster_params(&op)).await.unwrap();
        scene.follows("leaked-signer", &["guardian"]).await;
        let params = user.paymaster_params(&on_next_key(&op));
        let refused = api.call("pm_getPaymasterData", params).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused["data"]["reason"], "gas_tank_short", "{refused}");
    });
}

#[test]
fn keys_rotate_to_a_new_instance() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "rotation").await;
        scene.variables.insert("STANDBY_SIGNER", keys::STANDBY.to_string());
        scene.follows("rotation", &["deploy", "configure"]).await;
        // Both have a deposit while the service moves over.
        let (old, new) = (scene.old, scene.new_paymaster());
        assert_eq!(scene.operator.deposit(V09, old).await, U256::from(3) * ETHER);
        assert_eq!(scene.operator.deposit(V09, new).await, U256::from(2) * ETHER);
        scene.restarts().await;
        scene.follows("rotation", &["move"]).await;
        assert_eq!(scene.operator.deposit(V09, old).await, U256::ZERO);
        assert_eq!(scene.operator.deposit(V09, new).await, U256::from(5) * ETHER);
    });
}

#[test]
fn a_standby_key_takes_over_at_once() {
    on_shared_stack(async |env| {
        let scene = Scene::new(env, "standby").await;
        let before = ["the first of the configuration".to_owned(), keys::STANDBY.to_string()];
        // Safe to repeat, too.
        for before in before {
            let ran = scene.runs("rotation", &["standby"]).await;
            assert!(ran.success, "{}", ran.said);
            ran.tells("every running `serve` must have been started with standby");
            assert_eq!(ran.out.lines().next(), Some(keys::STANDBY.to_string().as_str()));
            assert!(ran.said.contains(&format!("before, {before} did")), "{}", ran.said);
        }
    });
}

#[test]
fn a_runbook_stops_at_the_first_command_that_fails() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "fails").await;
        scene.variables.insert("OWNER_KEY", scene.operator.guardian.file.clone());
        let ran = scene.runs("leaked-signer", &["owner", "deploy"]).await;
        assert!(!ran.success);
        ran.tells("only the owner may do this");
        assert!(!ran.out.contains("byte for byte"), "nothing was deployed: {}", ran.out);
        assert_eq!(scene.operator.deposit(V09, scene.old).await, U256::from(3) * ETHER);
    });
}

/// An installation that serves one paymaster, and the operator's shell.
struct Scene {
    env: &'static Env,
    operator: Operator<'static>,
    deployment: Deployment,
    old: Address,
    /// Another paymaster of the same installation, where there is one.
    other: Option<Address>,
    fresh: Address,
    variables: BTreeMap<&'static str, String>,
}

impl Scene {
    async fn new(env: &'static Env, name: &str) -> Self {
        let operator = Operator::new(env, &format!("runbook-{name}")).await;
        Self::with(env, name, operator, None).await
    }

    async fn with_two(env: &'static Env, name: &str) -> Self {
        let operator = Operator::new(env, &format!("runbook-{name}")).await;
        let other = operator.deployed("0.8", "1ether").await;
        Self::with(env, name, operator, Some(other)).await
    }

    async fn with(
        env: &'static Env,
        name: &str,
        mut operator: Operator<'static>,
        other: Option<Address>,
    ) -> Self {
        let old = operator.deployed("0.9", "3ether").await;
        let olds = [Some(old), other].into_iter().flatten();
        let olds: Vec<_> = olds.map(|paymaster| paymaster.to_string()).collect();
        let other_served = other.map(|other| ("0.8".to_owned(), other));
        let served = [("0.9".to_owned(), old)].into_iter().chain(other_served);
        let options = DeploymentOptions {
            database: format!("runbook_{name}"),
            paymasters: Some(served.collect()),
            ..DeploymentOptions::default()
        };
        let deployment = Deployment::start(&env.stack, None, &options).await.unwrap();
        operator.config = deployment.options.config.clone();
        let key = |role: &str| {
            let secret = keccak256(format!("{role} signer of {name}"));
            let file = operator.folder.join(format!("{role}.key"));
            fs::write(&file, secret.to_string()).unwrap();
            let address = PrivateKeySigner::from_bytes(&secret).unwrap().address();
            (address, file.display().to_string())
        };
        let ((fresh, fresh_key), (spare, spare_key)) = (key("fresh"), key("spare"));
        let variables = [
            ("CHAIN", operator.chain_id.to_string()),
            ("ENTRY_POINT", "0.9".to_owned()),
            ("OLD", old.to_string()),
            ("OLDS", olds.join(" ")),
            ("OWNER", operator.owner.address.to_string()),
            ("OWNER_KEY", operator.owner.file.clone()),
            ("GUARDIAN", operator.guardian.address.to_string()),
            ("GUARDIAN_KEY", operator.guardian.file.clone()),
            ("VAULT", operator.vault.to_string()),
            ("LEAKED", "dev".to_owned()),
            ("FRESH", "fresh".to_owned()),
            ("FRESH_SIGNER", fresh.to_string()),
            ("FRESH_KEY", fresh_key),
            ("STANDBY", "standby".to_owned()),
            ("SPARE", "spare".to_owned()),
            ("SPARE_KEY", spare_key),
            ("STANDBY_SIGNER", spare.to_string()),
            ("DEPOSIT", "2ether".to_owned()),
            ("WINDOW_SECONDS", "1".to_owned()),
            ("STIPEND_CONFIG", operator.config.display().to_string()),
        ];
        Self { env, operator, deployment, old, other, fresh, variables: variables.into() }
    }

    /// Runs steps of a runbook, which must succeed, and remembers the new paymaster's address.
    async fn follows(&mut self, runbook: &str, steps: &[&str]) {
        let ran = self.runs(runbook, steps).await;
        assert!(ran.success, "{runbook}: {}\n{}", ran.out, ran.said);
        let new = ran.out.lines().find_map(|line| line.strip_prefix("NEW="));
        self.variables.insert("NEW", new.unwrap().to_owned());
    }

    /// Runs steps of a runbook in one shell.
    async fn runs(&self, runbook: &str, steps: &[&str]) -> Ran {
        let mut script: String = steps.iter().map(|step| block(self.env, runbook, step)).collect();
        script.push_str("echo \"NEW=${NEW:-}\"\n");
        let folder = self.operator.binary.parent().unwrap().to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([folder].into_iter().chain(env::split_paths(&path))).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-eu", "-o", "pipefail", "-c", &script])
            .current_dir(&self.operator.folder)
            .envs(&self.variables)
            .env("PATH", path)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        bash.output().await.unwrap().into()
    }

    fn new_paymaster(&self) -> Address {
        self.variables["NEW"].parse().unwrap()
    }

    /// Restarts the service with the configuration as it is now.
    async fn restarts(&mut self) {
        self.deployment.service.stop().await.unwrap();
        let (stack, options) = (&self.env.stack, &self.deployment.options);
        let service = Service::start(&stack.tools, &stack.run, options).await;
        self.deployment.service = service.unwrap();
    }

    /// The restarted service serves the new paymaster, which has so much, and which the leaked key cannot sign for.
    async fn serves_the_new_one_with(&mut self, deposit: U256, runbook: &str) {
        self.restarts().await;
        self.follows(runbook, &["verify"]).await;
        let new = self.new_paymaster();
        assert_eq!(self.operator.deposit(V09, new).await, deposit);
        let shown = self.operator.does(&format!("show {new}")).await;
        shown.tells(&format!("signs as fresh     {}, which is one of its signers", self.fresh));
        for taken in [keys::SIGNER, keys::STANDBY] {
            assert!(!shown.out.contains(&taken.to_string()), "{}", shown.out);
        }
        let config = fs::read_to_string(&self.operator.config).unwrap();
        assert!(!config.contains(&self.old.to_string()), "{config}");
    }
}

/// A step's commands, as the page shows them.
fn block(env: &Env, runbook: &str, step: &str) -> String {
    let page = env.stack.tools.root().join("docs/contracts.md");
    let page = fs::read_to_string(page).unwrap();
    let fence = format!("```sh runbook={runbook} step={step}\n");
    let found: Vec<_> = page.split(&fence).skip(1).collect();
    assert_eq!(found.len(), 1, "step {step} of {runbook}");
    found[0].split("```").next().unwrap().to_owned()
}
