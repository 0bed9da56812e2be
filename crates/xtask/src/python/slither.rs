//! Static analysis of the contract by [slither](https://github.com/crytic/slither), every detector of it. Whatever it
//! finds is answered in `docs/security/contracts.md`, and whatever is answered there is still found.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use devstack::Tools;
use serde_json::Value;

use super::{Python, words};
use crate::Failure;
use crate::cargo::{self, root};
use crate::forge::forge;

const FOLDER: &str = "target/forge/slither";
const REPORT: &str = "target/forge/slither/report.json";
const ANSWERS: &str = "docs/security/contracts.md";
/// The heading in the document, below which the findings stand in a table.
const HEADING: &str = "## Static analysis";

/// A detector's name, and where it found something: `Contract.function(types)`, or the variable's name behind that.
type Finding = (String, String);

/// Fails on a finding without an answer, and on an answer without a finding.
pub(crate) fn run(tools: &Tools) -> Result<(), Failure> {
    let python = Python::ensure()?;
    let found = findings(&python, tools)?;
    let answered = answers(&fs::read_to_string(root().join(ANSWERS))?)?;
    let new = found.difference(&answered).map(|(detector, place)| {
        format!("  {detector} at {place} has no answer in {ANSWERS}: mend it, or answer it")
    });
    let gone = answered.difference(&found).map(|(detector, place)| {
        format!("  {detector} at {place} is answered in {ANSWERS} and not found: take it out")
    });
    let wrong: Vec<String> = new.chain(gone).collect();
    if wrong.is_empty() {
        println!("slither: {} findings, each answered in {ANSWERS}", found.len());
        return Ok(());
    }
    Err(format!("{} places\n{}", wrong.len(), wrong.join("\n")).into())
}

/// Compiles the sources alone into a folder of its own, and lets slither read the compiler's output.
fn findings(python: &Python, tools: &Tools) -> Result<BTreeSet<Finding>, Failure> {
    let folder = root().join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let out = format!("{FOLDER}/out");
    let mut build = forge(tools)?;
    build.env("FOUNDRY_OUT", &out).env("FOUNDRY_CACHE_PATH", format!("{FOLDER}/cache"));
    build.args(["build", "--quiet", "--build-info", "--ast"]);
    cargo::run(build.args(["--skip", "contracts/test/**", "--skip", "contracts/script/**"]))?;

    let mut slither = python.tool("slither", tools)?;
    slither.args([".", "--foundry-ignore-compile", "--foundry-out-directory", &out]);
    slither.args(["--json", REPORT, "--fail-none"]).stdin(Stdio::null());
    let output = slither.output()?;
    let report = fs::read_to_string(root().join(REPORT))
        .map_err(|error| format!("slither's report: {error}\n{}", words(&output)))?;
    let report: Value = serde_json::from_str(&report)?;
    if report.pointer("/success") != Some(&Value::Bool(true)) {
        return Err(format!("slither failed\n{}", words(&output)).into());
    }
    let detectors = report.pointer("/results/detectors").and_then(Value::as_array);
    detectors.into_iter().flatten().map(finding).collect()
}

fn finding(result: &Value) -> Result<Finding, Failure> {
    let detector = result["check"].as_str().ok_or("a finding of slither has no detector")?;
    // What concerns several places is named by the first.
    let place = result.pointer("/elements/0").map_or_else(String::new, place);
    Ok((detector.to_owned(), place))
}

/// The element with what it stands in.
fn place(element: &Value) -> String {
    let name = element.pointer("/type_specific_fields/signature").unwrap_or(&element["name"]);
    let name = name.as_str().unwrap_or_default();
    match element.pointer("/type_specific_fields/parent") {
        Some(parent) => format!("{}.{name}", place(parent)),
        None => name.to_owned(),
    }
}

/// The table's first two columns: a detector, and the places, each between backticks.
fn answers(document: &str) -> Result<BTreeSet<Finding>, Failure> {
    let (_, rest) = document
        .split_once(HEADING)
        .ok_or_else(|| format!("{ANSWERS} has no heading {HEADING:?}"))?;
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|');
        Some((quoted(cells.next()?), quoted(cells.next()?)))
    });
    let pairs = rows.flat_map(|(detectors, places)| {
        let detector = detectors.into_iter().next();
        places.into_iter().filter_map(move |place| Some((detector.clone()?, place)))
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{answers, finding};

    #[test]
    fn a_finding_is_named_by_the_detector_and_the_place_with_what_it_stands_in() {
        let contract = json!({ "name": "Tank", "type_specific_fields": {} });
        let function = json!({
            "name": "fill",
            "type_specific_fields": { "signature": "fill(uint256)", "parent": contract },
        });
        let variable = json!({ "name": "litres", "type_specific_fields": { "parent": function } });
        let result = json!({ "check": "uninitialized-local", "elements": [variable] });
        let expected = ("uninitialized-local".to_owned(), "Tank.fill(uint256).litres".to_owned());
        assert_eq!(finding(&result).unwrap(), expected);
    }

    #[test]
    fn each_place_of_a_row_is_an_answer_and_other_sections_hold_none() {
        let document = "| `assembly` | `A.a()` | before |\n## Static analysis\n\n| detector | where | answer |\n\
                        | `assembly` | `A.b()`, `A.c()` | `why` |\n\n## Next\n| `assembly` | `A.d()` | after |\n";
        let found = answers(document).unwrap();
        let places: Vec<_> = found.iter().map(|(_, place)| place.as_str()).collect();
        assert_eq!(places, ["A.b()", "A.c()"]);
    }
}
