//! The runbooks of `docs/contracts.md` do what they say: their commands run as they stand there.

use std::{collections::BTreeMap, env, fs, process::Stdio};

use alloy::{
    primitives::{Address, U256, keccak256},
    signers::local::PrivateKeySigner,
};
use devstack::{Deployment, DeploymentOptions, entry_points::V09, keys, service::Service};
use e2e::{Env, on_shared_stack};
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
fn keys_rotate_to_a_new_instance() {
    on_shared_stack(async |env| {
        let mut scene = Scene::new(env, "rotation").await;
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
    fresh: Address,
    variables: BTreeMap<&'static str, String>,
}

impl Scene {
    async fn new(env: &'static Env, name: &str) -> Self {
        let mut operator = Operator::new(env, &format!("runbook-{name}")).await;
        let old = operator.deployed("0.9", "3ether").await;
        let options = DeploymentOptions {
            database: format!("runbook_{name}"),
            paymasters: Some([("0.9".to_owned(), old)].into()),
            ..DeploymentOptions::default()
        };
        let deployment = Deployment::start(&env.stack, None, &options).await.unwrap();
        operator.config = deployment.options.config.clone();
        let secret = keccak256(format!("fresh signer of {name}"));
        let fresh_key = operator.folder.join("fresh.key");
        fs::write(&fresh_key, secret.to_string()).unwrap();
        let fresh = PrivateKeySigner::from_bytes(&secret).unwrap().address();
        let variables = [
            ("CHAIN", operator.chain_id.to_string()),
            ("ENTRY_POINT", "0.9".to_owned()),
            ("OLD", old.to_string()),
            ("OWNER", operator.owner.address.to_string()),
            ("OWNER_KEY", operator.owner.file.clone()),
            ("GUARDIAN", operator.guardian.address.to_string()),
            ("GUARDIAN_KEY", operator.guardian.file.clone()),
            ("VAULT", operator.vault.to_string()),
            ("LEAKED", "dev".to_owned()),
            ("FRESH", "fresh".to_owned()),
            ("FRESH_SIGNER", fresh.to_string()),
            ("FRESH_KEY", fresh_key.display().to_string()),
            ("STANDBY", "standby".to_owned()),
            ("STANDBY_SIGNER", keys::STANDBY.to_string()),
            ("DEPOSIT", "2ether".to_owned()),
            ("WINDOW_SECONDS", "1".to_owned()),
            ("STIPEND_CONFIG", operator.config.display().to_string()),
        ];
        Self { env, operator, deployment, old, fresh, variables: variables.into() }
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
        assert!(!shown.out.contains(&keys::SIGNER.to_string()), "{}", shown.out);
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
