use alloy_primitives::{B256, U256, address, b256, hex};
use erc4337::events::{EventError, USER_OPERATION_EVENT_TOPIC, UserOperationEvent};

const TOPICS: [B256; 4] = [
    b256!("49628fd1471006c1482da88028e9ce4dbb080b815c9b0344d39e5a8e6ec1419f"),
    b256!("1122334455667788112233445566778811223344556677881122334455667788"),
    b256!("0000000000000000000000008ba1f109551bd432803012645ac136ddd64dba72"),
    b256!("0000000000000000000000005aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
];
const DATA: [u8; 128] = hex!(
    "0000000000000000000000000000000000000000000000070000000000000003"
    "0000000000000000000000000000000000000000000000000000000000000001"
    "00000000000000000000000000000000000000000000000000005af3107a4000"
    "00000000000000000000000000000000000000000000000000000000000186a0"
);

#[test]
fn the_topic_is_the_one_on_chain() {
    assert_eq!(USER_OPERATION_EVENT_TOPIC, TOPICS[0]);
}

#[test]
fn an_event_is_read_from_topics_and_data() {
    let event = UserOperationEvent::decode(&TOPICS, &DATA).unwrap();
    assert_eq!(
        event,
        UserOperationEvent {
            user_op_hash: TOPICS[1],
            sender: address!("8ba1f109551bd432803012645ac136ddd64dba72"),
            paymaster: address!("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
            nonce: U256::from_limbs([3, 7, 0, 0]),
            success: true,
            actual_gas_cost: U256::from(100_000_000_000_000_u64),
            actual_gas_used: U256::from(100_000),
        }
    );
}

#[test]
fn a_reverted_operation_says_so() {
    let mut data = DATA;
    data[63] = 0;
    assert!(!UserOperationEvent::decode(&TOPICS, &data).unwrap().success);
}

#[test]
fn another_event_is_named_as_such() {
    let mut topics = TOPICS;
    topics[0] = B256::ZERO;
    assert_eq!(UserOperationEvent::decode(&topics, &DATA), Err(EventError::OtherEvent));
    assert_eq!(UserOperationEvent::decode(&[], &DATA), Err(EventError::OtherEvent));
}

#[test]
fn a_log_of_another_form_is_malformed() {
    let malformed = |topics: &[B256], data: &[u8]| {
        matches!(UserOperationEvent::decode(topics, data), Err(EventError::Malformed(_)))
    };
    assert!(malformed(&TOPICS[..3], &DATA));
    assert!(malformed(&TOPICS, &DATA[..127]));
    assert!(malformed(&TOPICS, &[DATA.as_slice(), &[0]].concat()));
    let mut not_a_bool = DATA;
    not_a_bool[63] = 2;
    assert!(malformed(&TOPICS, &not_a_bool));
    let mut not_an_address = TOPICS;
    not_an_address[2].0[0] = 1;
    assert!(malformed(&not_an_address, &DATA));
}
