//! What a scripted node does wrong, and when.

use std::{collections::HashMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is never answered.
    Drop,
    /// The connection breaks off within the answer.
    Disconnect,
    /// The answer comes late.
    Delay(Duration),
    /// The node gets the request twice.
    Duplicate,
    /// Another request that came later is answered first.
    Reorder,
    /// An HTTP status without JSON-RPC, such as 429 or 502.
    Status(u16),
    /// `eth_getBlockByNumber` shows the block below the one that was asked for.
    WrongBlock,
    /// `eth_getBlockByNumber` shows a block of another branch.
    OtherBranch,
    /// Blocks have no bloom filter, as on a chain whose nodes give none.
    NoBloom,
    /// The last log is missing, from `eth_getLogs` or from the receipts of a block.
    TruncatedLogs,
    /// All logs are missing.
    NoLogs,
    /// `eth_getLogs` refuses more blocks than this at once.
    RangeLimit(u64),
    /// The node does not know what is above this height.
    StaleHead(u64),
}

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// To every request.
    Always,
    /// To the next so many requests.
    Next(u32),
    /// To one request in so many, by chance.
    OneIn(u32),
}

/// A fault of one method, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method; `None` for every one.
    pub method: Option<&'static str>,
    /// What goes wrong.
    pub fault: Fault,
    /// How often.
    pub when: When,
}

impl Rule {
    /// Every request of a method.
    pub const fn always(method: &'static str, fault: Fault) -> Self {
        Self { method: Some(method), fault, when: When::Always }
    }

    /// The next requests of a method.
    pub const fn next(times: u32, method: &'static str, fault: Fault) -> Self {
        Self { method: Some(method), fault, when: When::Next(times) }
    }

    /// Everything a node can do wrong and still be one that some day tells the truth, each once in so many requests.
    pub fn by_chance(one_in: u32) -> Vec<Self> {
        let when = When::OneIn(one_in);
        [
            Fault::Disconnect,
            Fault::Delay(Duration::from_millis(700)),
            Fault::Duplicate,
            Fault::Reorder,
            Fault::Status(429),
            Fault::Status(503),
            Fault::WrongBlock,
            Fault::TruncatedLogs,
            Fault::NoLogs,
        ]
        .map(|fault| Self { method: None, fault, when })
        .to_vec()
    }
}

/// The rules, and what became of them.
#[derive(Debug)]
pub(super) struct Script {
    rules: Vec<Rule>,
    chance: StdRng,
    asked: HashMap<String, usize>,
    faults: usize,
}

impl Default for Script {
    fn default() -> Self {
        let chance = StdRng::seed_from_u64(7);
        Self { rules: Vec::new(), chance, asked: HashMap::new(), faults: 0 }
    }
}

impl Script {
    pub(super) fn follow(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    pub(super) fn asked(&self, method: &str) -> usize {
        self.asked.get(method).copied().unwrap_or_default()
    }

    pub(super) fn faults(&self) -> usize {
        self.faults
    }

    /// What happens to a request of a method.
    pub(super) fn faults_of(&mut self, method: &str) -> Vec<Fault> {
        let asked = self.asked.entry(method.to_owned()).or_default();
        *asked = asked.saturating_add(1);
        let mut faults = Vec::new();
        for rule in &mut self.rules {
            if rule.method.is_some_and(|of| of != method) || !rule.fault.is_of(method) {
                continue;
            }
            let happens = match &mut rule.when {
                When::Always => true,
                When::Next(0) => false,
                When::Next(left) => {
                    *left = left.saturating_sub(1);
                    true
                }
                When::OneIn(many) => self.chance.random_ratio(1, (*many).max(1)),
            };
            if happens {
                faults.push(rule.fault);
            }
        }
        self.faults = self.faults.saturating_add(faults.len());
        faults
    }
}

impl Fault {
    /// Whether a method's answer can be wrong in this way.
    fn is_of(self, method: &str) -> bool {
        match self {
            Self::WrongBlock | Self::OtherBranch => method == "eth_getBlockByNumber",
            Self::NoBloom => matches!(method, "eth_getBlockByNumber" | "eth_getBlockByHash"),
            Self::RangeLimit(_) => method == "eth_getLogs",
            Self::TruncatedLogs | Self::NoLogs => {
                matches!(method, "eth_getLogs" | "eth_getBlockReceipts")
            }
            Self::Drop
            | Self::Disconnect
            | Self::Delay(_)
            | Self::Duplicate
            | Self::Reorder
            | Self::Status(_)
            | Self::StaleHead(_) => true,
        }
    }

    pub(super) const fn stale_head(&self) -> Option<u64> {
        if let Self::StaleHead(height) = self { Some(*height) } else { None }
    }

    /// Changes the question; or gives an answer without one.
    pub(super) fn instead_of(self, call: &mut Value) -> Option<Value> {
        let id = call.get("id").cloned().unwrap_or_default();
        let method = method(call).to_owned();
        let first = call.pointer_mut("/params/0")?;
        if self == Self::WrongBlock {
            let below = number(first)?.checked_sub(1)?;
            *first = json!(format!("{below:#x}"));
        }
        if let Self::RangeLimit(most) = self {
            let (from, to) = (number(first.get("fromBlock")?)?, number(first.get("toBlock")?)?);
            if to.saturating_sub(from) >= most {
                let message = format!("query exceeds max block range {most}");
                let error = json!({ "code": -32005, "message": message });
                return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
        }
        if let Self::StaleHead(height) = self
            && method == "eth_getBlockByNumber"
        {
            if *first == "latest" {
                *first = json!(format!("{height:#x}"));
            }
            if number(first)? > height {
                return Some(json!({ "jsonrpc": "2.0", "id": id, "result": null }));
            }
        }
        None
    }

    /// Changes the answer.
    pub(super) fn spoil(self, method: &str, answer: &mut Value) {
        if self == Self::OtherBranch {
            other_branch(answer);
        }
        if self == Self::NoBloom
            && let Some(bloom) = answer.pointer_mut("/result/logsBloom")
        {
            *bloom = json!(format!("0x{}", "0".repeat(512)));
        }
        let is_all = self == Self::NoLogs;
        if !is_all && self != Self::TruncatedLogs {
            return;
        }
        let Some(list) = answer.get_mut("result").and_then(Value::as_array_mut) else { return };
        if method == "eth_getLogs" {
            shorten(list, is_all);
            return;
        }
        for receipt in list.iter_mut().rev() {
            let logs = receipt.get_mut("logs").and_then(Value::as_array_mut);
            let Some(logs) = logs.filter(|logs| !logs.is_empty()) else { continue };
            shorten(logs, is_all);
            if !is_all {
                return;
            }
        }
    }
}

fn other_branch(answer: &mut Value) {
    if let Some(hash) = answer.pointer_mut("/result/hash")
        && let Some(own) = hash.as_str()
    {
        *hash = own.chars().take(34).chain("0".repeat(32).chars()).collect::<String>().into();
    }
}

fn shorten(logs: &mut Vec<Value>, is_all: bool) {
    if is_all {
        logs.clear();
    } else {
        logs.pop();
    }
}

/// The method of a call.
pub(super) fn method(call: &Value) -> &str {
    call.get("method").and_then(Value::as_str).unwrap_or_default()
}

/// A quantity as JSON-RPC writes it.
pub(super) fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
