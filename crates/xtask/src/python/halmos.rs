//! Symbolic execution of `validatePaymasterUserOp`, by [halmos](https://github.com/a16z/halmos): the proofs of
//! `contracts/test/symbolic`, which must hold, and their controls, which must not.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use devstack::Tools;
use serde_json::Value;

use super::{HOME, Python};
use crate::Failure;
use crate::cargo::root;

const OUT: &str = "target/forge/symbolic/out";
const PROOFS: &str = "target/forge/symbolic/out/ValidationProof.sol/StipendPaymasterProof.json";
const DEFECTS: &str = "target/forge/symbolic/out/DefectivePaymaster.sol/DefectivePaymaster.json";
const PAYMASTER: &str = "target/forge/symbolic/out/StipendPaymaster.sol/StipendPaymaster.json";
const DEPLOYED: &str = "contracts/artifacts/StipendPaymaster.json";
const ANSWER: &str = "target/tools/halmos.json";

const GENUINE: &str = "StipendPaymasterProof";
const DEFECTIVE: &str = "DefectivePaymasterProof";

/// The solver's answer to one question; the usual one takes milliseconds.
const QUERY_TIMEOUT: &str = "60s";
/// One run of halmos, which on two cores takes half a minute.
const RUN_TIMEOUT: Duration = Duration::from_mins(6);
/// How often a loop is followed. One that goes on fails the proof.
const LOOP_BOUND: &str = "16";
/// halmos's codes for a proof that holds, and for one with a counterexample. All others mean that it could not tell.
const HOLDS: u64 = 0;
const REFUTED: u64 = 1;

/// Without a defect the paymaster of the controls passes, so that what refutes the others is their defect.
const NO_DEFECT: &str = "None";
/// The proof that adds only lengths to another is left out there.
const WITHOUT_DEFECT: &str = "^check_(?!more_)";
/// Of each defect, proofs that must find it.
const CONTROLS: [(&str, &[&str]); 12] = [
    ("AnyCaller", &["check_another_caller", "check_another_caller_with_any_bytes"]),
    ("ForgetsSender", &["check_sequential_form", "check_digest_covers_all_else"]),
    ("IgnoresMarker", &["check_marked_account"]),
    ("AcceptsZero", &["check_sequential_form"]),
    ("ComparesHalf", &["check_parallel_form"]),
    ("WindowBehindHeader", &["check_more_sequential_lengths"]),
    ("AnySuffix", &["check_another_suffix"]),
    ("AnyLength", &["check_another_length"]),
    ("BareHash", &["check_parallel_form"]),
    ("Reverts", &["check_marked_account"]),
    ("LongAnswer", &["check_parallel_form"]),
    ("Writes", &["check_another_suffix"]),
];

/// Proves what `contracts/test/symbolic/ValidationProof.sol` states, and shows each statement able to fail.
pub(crate) fn run(tools: &Tools) -> Result<(), Failure> {
    // The solver's questions of earlier runs.
    let _ = fs::remove_dir_all(root().join(HOME));
    let halmos = Halmos { python: Python::ensure()?, tools };
    let proofs = halmos.run(GENUINE, "^check_", None)?;
    same_code()?;
    for proof in &proofs {
        proof.must_hold()?;
    }
    let paths: u64 = proofs.iter().map(|proof| proof.paths).sum();

    let defects = defects()?;
    for proof in halmos.run(DEFECTIVE, WITHOUT_DEFECT, Some(number(&defects, NO_DEFECT)?))? {
        proof.must_hold()?;
    }
    let mut refuted = 0_usize;
    for (defect, checks) in CONTROLS {
        for check in checks {
            let number = number(&defects, defect)?;
            for proof in halmos.run(DEFECTIVE, &format!("^{check}\\("), Some(number))? {
                proof.must_be_refuted(defect)?;
                refuted += 1;
            }
        }
    }
    every_defect_and_proof_is_used(&defects, &proofs)?;
    println!("halmos: {} checks, {paths} paths", proofs.len());
    println!("halmos: all hold; all {refuted} controls were refuted");
    Ok(())
}

struct Halmos<'a> {
    python: Python,
    tools: &'a Tools,
}

impl Halmos<'_> {
    /// Runs the proofs of a contract whose names match, for a defect only up to the first counterexample.
    fn run(
        &self,
        contract: &str,
        names: &str,
        defect: Option<usize>,
    ) -> Result<Vec<Proof>, Failure> {
        let answer = root().join(ANSWER);
        let _ = fs::remove_file(&answer);
        let mut command = self.command(contract, names)?;
        command.arg("--json-output").arg(&answer);
        if let Some(number) = defect {
            command.arg("--early-exit").env("DEFECT", number.to_string()).stdout(Stdio::null());
        }
        let status = wait(&mut command)?;
        let text = fs::read_to_string(&answer)
            .map_err(|_| format!("halmos gave no answer about {contract} {names} ({status})"))?;
        let answer: Value = serde_json::from_str(&text)?;
        let tests = answer
            .pointer("/test_results")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|files| files.values());
        let proofs: Vec<Proof> = tests
            .filter_map(Value::as_array)
            .flatten()
            .map(Proof::read)
            .collect::<Option<_>>()
            .ok_or("halmos wrote an answer of another shape")?;
        if proofs.is_empty() {
            return Err(format!("{contract} has no proof that matches {names:?}").into());
        }
        Ok(proofs)
    }

    fn command(&self, contract: &str, names: &str) -> Result<Command, Failure> {
        let solver = self.python.bin().join("yices-smt2");
        let solver = format!("{} --smt2-model-format --bvconst-in-decimal", solver.display());
        let mut command = self.python.tool("halmos", self.tools)?;
        command
            .env("FOUNDRY_PROFILE", "symbolic")
            .args(["--contract", contract, "--match-test", names])
            .args(["--forge-build-out", OUT, "--no-status", "--loop", LOOP_BOUND])
            // Whatever the compiler's own checks stop counts as a failed assertion.
            .args(["--panic-error-codes", "*"])
            // A solver is named, so that none is looked for or downloaded.
            .args(["--solver-command", &solver, "--solver-timeout-assertion", QUERY_TIMEOUT]);
        Ok(command)
    }
}

/// What halmos says of one proof.
struct Proof {
    name: String,
    exit_code: u64,
    counterexamples: u64,
    paths: u64,
    /// Paths that came to their end; the others broke off, for a reason that halmos passes over.
    ended: u64,
    /// Paths on which it got stuck.
    stuck: u64,
    /// Loops that it left early.
    cut_loops: u64,
}

impl Proof {
    fn read(test: &Value) -> Option<Self> {
        let number = |pointer: &str| test.pointer(pointer)?.as_u64();
        Some(Self {
            name: test["name"].as_str()?.split('(').next()?.to_owned(),
            exit_code: number("/exitcode")?,
            counterexamples: number("/num_models")?,
            paths: number("/num_paths/0")?,
            ended: number("/num_paths/1")?,
            stuck: number("/num_paths/2")?,
            cut_loops: number("/num_bounded_loops")?,
        })
    }

    fn must_hold(&self) -> Result<(), Failure> {
        if self.holds(self.combinations()?) {
            return Ok(());
        }
        Err(format!("{} is not proven: {self}", self.name).into())
    }

    /// Whether nothing was found and nothing left out. Each of the combinations of lengths has a path at least.
    fn holds(&self, combinations: u64) -> bool {
        let complete = self.stuck == 0 && self.cut_loops == 0 && self.ended >= combinations;
        self.exit_code == HOLDS && self.counterexamples == 0 && complete
    }

    fn is_refuted(&self) -> bool {
        self.exit_code == REFUTED && self.counterexamples > 0
    }

    fn must_be_refuted(&self, defect: &str) -> Result<(), Failure> {
        if self.is_refuted() {
            println!("{defect}: refuted by {}", self.name);
            return Ok(());
        }
        Err(format!("{} does not find the defect {defect}: {self}", self.name).into())
    }

    /// How many combinations of lengths the proof lists.
    fn combinations(&self) -> Result<u64, Failure> {
        let artifact: Value = serde_json::from_str(&fs::read_to_string(root().join(PROOFS))?)?;
        let methods =
            artifact.pointer("/metadata/output/devdoc/methods").and_then(Value::as_object);
        let start = format!("{}(", self.name);
        let options = methods
            .and_then(|methods| methods.iter().find(|(signature, _)| signature.starts_with(&start)))
            .and_then(|(_, method)| method["custom:halmos"].as_str())
            .ok_or_else(|| format!("{} lists no lengths", self.name))?;
        let lists = options.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        lists.map(|list| Ok(u64::try_from(list.split(',').count())?)).product()
    }
}

impl core::fmt::Display for Proof {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { exit_code, counterexamples, paths, ended, stuck, cut_loops, .. } = self;
        write!(
            formatter,
            "halmos's code {exit_code}, {counterexamples} counterexamples, {paths} paths of which {ended} ended and \
             {stuck} got stuck, {cut_loops} loops cut short"
        )
    }
}

/// Waits for a run that has a limit of its own only for each question.
fn wait(command: &mut Command) -> Result<std::process::ExitStatus, Failure> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > RUN_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Err(format!("halmos was not done after {} s", RUN_TIMEOUT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was proven is the code that is deployed.
fn same_code() -> Result<(), Failure> {
    let code = |path: &str, pointer: &str| -> Result<Option<String>, Failure> {
        let artifact: Value = serde_json::from_str(&fs::read_to_string(root().join(path))?)?;
        Ok(artifact.pointer(pointer).and_then(Value::as_str).map(str::to_owned))
    };
    let proven = code(PAYMASTER, "/bytecode/object")?;
    if proven.is_some() && proven == code(DEPLOYED, "/bytecode")? {
        return Ok(());
    }
    Err(format!("{PAYMASTER} and {DEPLOYED} are not the same code").into())
}

/// The defects, in the order of their numbers, from the syntax tree.
fn defects() -> Result<Vec<String>, Failure> {
    let artifact: Value = serde_json::from_str(&fs::read_to_string(root().join(DEFECTS))?)?;
    let nodes = artifact.pointer("/ast/nodes").and_then(Value::as_array);
    let names = nodes
        .into_iter()
        .flatten()
        .filter(|node| node["nodeType"] == "EnumDefinition")
        .filter_map(|node| node["members"].as_array())
        .flatten()
        .filter_map(|member| member["name"].as_str().map(str::to_owned))
        .collect::<Vec<_>>();
    if names.is_empty() { Err(format!("{DEFECTS} has no defects").into()) } else { Ok(names) }
}

fn number(defects: &[String], name: &str) -> Result<usize, Failure> {
    let found = defects.iter().position(|defect| defect == name);
    found.ok_or_else(|| format!("there is no defect {name}").into())
}

/// A defect without a control would show nothing, and a proof without one may be unable to fail.
fn every_defect_and_proof_is_used(defects: &[String], proofs: &[Proof]) -> Result<(), Failure> {
    let controlled: BTreeSet<&str> = CONTROLS.iter().map(|(defect, _)| *defect).collect();
    let refuting: BTreeSet<&str> =
        CONTROLS.iter().flat_map(|(_, checks)| checks.iter().copied()).collect();
    let idle = defects
        .iter()
        .map(String::as_str)
        .filter(|defect| *defect != NO_DEFECT && !controlled.contains(defect))
        .chain(
            proofs.iter().map(|proof| proof.name.as_str()).filter(|name| !refuting.contains(name)),
        )
        .collect::<Vec<_>>();
    if idle.is_empty() {
        return Ok(());
    }
    Err(format!("no control uses {}", idle.join(", ")).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Proof;

    /// What halmos writes when it ends with this code, having followed paths to their end and got stuck on some.
    fn proof(exit_code: u64, counterexamples: u64, paths: [u64; 3], cut_loops: u64) -> Proof {
        let test = json!({
            "name": "check_all(bytes)", "exitcode": exit_code, "num_models": counterexamples,
            "num_paths": paths, "num_bounded_loops": cut_loops,
        });
        Proof::read(&test).unwrap()
    }

    #[test]
    fn a_proof_holds_when_every_combination_came_to_its_end() {
        assert!(proof(0, 0, [9, 8, 0], 0).holds(8));
        assert!(!proof(0, 0, [9, 7, 0], 0).holds(8));
    }

    #[test]
    fn a_proof_that_timed_out_or_got_stuck_or_left_a_loop_does_not_hold() {
        const TIMED_OUT: u64 = 2;
        assert!(!proof(TIMED_OUT, 0, [9, 8, 0], 0).holds(8));
        assert!(!proof(0, 0, [9, 8, 1], 0).holds(8));
        assert!(!proof(0, 0, [9, 8, 0], 1).holds(8));
    }

    #[test]
    fn only_a_counterexample_refutes() {
        const STUCK: u64 = 3;
        assert!(proof(1, 1, [9, 8, 0], 0).is_refuted());
        assert!(!proof(STUCK, 0, [9, 8, 1], 0).is_refuted());
        assert!(!proof(0, 0, [9, 8, 0], 0).is_refuted());
    }
}
