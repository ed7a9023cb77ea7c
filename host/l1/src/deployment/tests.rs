use super::*;

/// The example of spec/deployment.md, with addresses in the place of its dots.
#[test]
fn reads_the_example_of_the_specification() {
    let page = include_str!("../../../../spec/deployment.md");
    let start = page.find("```json").expect("an example") + "```json".len();
    let json = &page[start..start + page[start..].find("```").expect("it ends")];
    let json =
        json.replace("\"genesisHash\": \"0x…\"", &format!("\"genesisHash\": \"{}\"", B256::ZERO));
    let json = json.replace("0x…", &Address::ZERO.to_string());
    let deployment: Deployment = serde_json::from_str(&json).expect("reads");
    let mut expected = Parameters::development(1_760_000_000);
    expected.l1_start_block = 1;
    assert_eq!(deployment.parameters, expected);
    assert_eq!((deployment.l1_chain_id, deployment.l2_chain_id), (900, 901));
    let again = serde_json::to_value(&deployment).expect("writes");
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(&json).expect("JSON"));
}
