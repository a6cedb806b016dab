//! `TokenVerify.Verify` answers an invalid request with an error instead of a verdict.

use tokend_client::v1::VerifyRequest;
use tokend_tests::{Installation, Refused, on_both_databases, question, token_in};

on_both_databases!(an_invalid_request_gets_an_error);

async fn an_invalid_request_gets_an_error(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let secret = server.token(token_in(&acme)).await.secret;
    let ask = async |change: fn(&mut VerifyRequest)| {
        let mut question = question(&secret, &acme, &["repository"]);
        change(&mut question);
        server.admin().token_verify().verify(question).await
    };
    ask(|question| question.resource.clear())
        .await
        .refused_field("resource");
    ask(|question| question.resource = "acme".to_owned())
        .await
        .refused_field("resource");
    ask(|question| question.resource.push('/'))
        .await
        .refused_field("resource");
    ask(|question| question.resource.push_str("/.."))
        .await
        .refused_field("resource");
    ask(|question| question.resource.push_str("/a\u{7}b"))
        .await
        .refused_field("resource");
    ask(|question| question.resource.push_str(&"/a".repeat(15)))
        .await
        .refused_field("resource");
    ask(|question| question.required_scopes[0] = "everything".to_owned())
        .await
        .refused_field("required_scopes[0]");
    ask(|question| question.required_scopes.push(String::new()))
        .await
        .refused_field("required_scopes[1]");
    ask(|question| question.required_scopes = vec!["repository".to_owned(); 65])
        .await
        .refused_field("required_scopes");
    ask(|question| question.client_address = "localhost".to_owned())
        .await
        .refused_field("client_address");
    ask(|question| question.client_address = "192.0.2.0/24".to_owned())
        .await
        .refused_field("client_address");

    // All invalid fields are reported at once, even if the token is unknown.
    let request = VerifyRequest {
        client_address: "?".to_owned(),
        ..question("garbage", "", &["?"])
    };
    let status = server
        .admin()
        .token_verify()
        .verify(request)
        .await
        .expect_err("every field is invalid");
    let fields: Vec<_> = tokend_client::CallError::from(status)
        .fields
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["resource", "required_scopes[0]", "client_address"]);
}
