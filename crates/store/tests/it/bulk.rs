use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use domain::ExternalId;
use domain::ids::Reference;
use store::bulk::{BatchClaim, BatchFound, BatchName, Destination, LineRecord};
use store::funds::Direction;
use tokio::task::JoinSet;

use crate::Company;
use crate::builder::micro;

const LEASE: Duration = Duration::from_secs(3_600);

fn name(company: &Company, request_hash: B256) -> BatchName {
    BatchName { tenant: company.tenant, key: "batch".parse().unwrap(), request_hash, line_count: 2 }
}

async fn claimed(company: &Company) -> (BatchClaim, BTreeMap<usize, LineRecord>) {
    let found = company.store.claim_batch(&name(company, B256::ZERO), LEASE).await.unwrap();
    let BatchFound::Claimed(claim, lines) = found else { panic!("not claimed: {found:?}") };
    (claim, lines)
}

fn applied(index: usize, entry_seq: i64) -> BTreeMap<usize, LineRecord> {
    BTreeMap::from([(index, LineRecord::Applied { entry_seq })])
}

#[tokio::test]
async fn a_batch_is_worked_on_by_one_request_at_a_time() {
    let company = Company::new().await;
    let (first, none) = claimed(&company).await;
    assert_eq!(none, BTreeMap::new());
    assert!(company.store.record_batch_lines(first, &applied(0, 7)).await.unwrap());
    let batch = name(&company, B256::ZERO);
    let found = company.store.claim_batch(&batch, LEASE).await.unwrap();
    assert_eq!(found, BatchFound::Busy(1));
    let other = name(&company, B256::repeat_byte(1));
    let found = company.store.claim_batch(&other, LEASE).await.unwrap();
    assert_eq!(found, BatchFound::KeyReused);

    company.store.release_batch(first).await.unwrap();
    let (second, lines) = claimed(&company).await;
    assert_eq!(lines, applied(0, 7));
    // The first comes back late, with the same line and with another.
    for lines in [applied(0, 8), applied(1, 8)] {
        assert!(!company.store.record_batch_lines(first, &lines).await.unwrap());
    }
    let refusal = LineRecord::Refused { code: "c".to_owned(), detail: "d".to_owned() };
    let rest = BTreeMap::from([(1, refusal.clone())]);
    assert!(company.store.record_batch_lines(second, &rest).await.unwrap());
    let complete = BTreeMap::from([(0, LineRecord::Applied { entry_seq: 7 }), (1, refusal)]);
    for batch in [&batch, &batch] {
        let found = company.store.claim_batch(batch, LEASE).await.unwrap();
        assert_eq!(found, BatchFound::Complete(complete.clone()));
    }
    company.finish().await;
}

#[tokio::test]
async fn a_claim_ends_by_itself() {
    let company = Company::new().await;
    let batch = name(&company, B256::ZERO);
    let found = company.store.claim_batch(&batch, Duration::ZERO).await.unwrap();
    assert!(matches!(found, BatchFound::Claimed(..)), "{found:?}");
    claimed(&company).await;
    company.finish().await;
}

#[tokio::test]
async fn a_credit_finds_its_account_and_what_its_reference_names() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.debit(30, "shop").await;
    company.user("bob", 0).await;
    let neighbour = company.neighbour("beta", alloy_primitives::Address::repeat_byte(0xbb)).await;
    let names: [ExternalId; 3] = ["ann", "bob", "cem"].map(|name| name.parse().unwrap());
    let references: [Reference; 2] = ["shop", "other"].map(|name| name.parse().unwrap());
    let [shop, other] = &references;
    let [ann_name, bob_name, cem_name] = &names;
    let asked =
        [(cem_name, shop), (ann_name, shop), (ann_name, other), (bob_name, shop), (ann_name, shop)];
    let found = company.store.credit_destinations(company.tenant, &asked).await.unwrap();
    assert_eq!(found[0], Destination::default());
    let earlier = found[1].earlier.clone().unwrap();
    assert_eq!(found[1].account, Some(ann.account));
    assert_eq!((earlier.direction, earlier.amount), (Direction::Debit, micro(30)));
    assert_eq!((earlier.reason.as_str(), earlier.entry_seq), ("test", 2));
    assert_eq!(found[2], Destination { account: Some(ann.account), earlier: None });
    assert!(found[3].account.is_some() && found[3].earlier.is_none());
    assert_eq!(found[4], found[1]);
    let theirs = company.store.credit_destinations(neighbour.tenant, &asked).await.unwrap();
    assert_eq!(theirs, vec![Destination::default(); asked.len()]);
    company.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_asked_for_by_many_at_once_in_any_order_are_one_account_each() {
    let company = Company::new().await;
    company.user("user 3", 0).await;
    let mut tasks = JoinSet::new();
    for start in 0..8 {
        let (store, tenant) = (company.store.clone(), company.tenant);
        tasks.spawn(async move {
            let names: Vec<ExternalId> = (0..40)
                .map(|n| format!("user {}", (n * 7 + start * 5) % 40).parse().unwrap())
                .collect();
            let names: Vec<_> = names.iter().chain(&names).collect();
            store.ensure_accounts(tenant, &names).await.unwrap()
        });
    }
    let found: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(found.len(), 1, "all of them were told the same");
    assert_eq!(found.first().unwrap().len(), 40);
    assert_eq!(company.count("SELECT count(*) FROM accounts").await, 40);
    assert_eq!(company.count("SELECT count(*) FROM account_names").await, 40);
    company.finish().await;
}
