//! Server reflection returns the contract to clients. It is off by default, and requires a caller key.

use tokend_client::{
    CallerKey,
    v1::{ErrorReason, Role},
};
use tokend_tests::{Installation, Server, on_both_databases, raw, refusal};
use tonic::{
    Code, Status,
    codegen::{InterceptedService, tokio_stream},
    transport::Channel,
};
use tonic_reflection::pb::{v1, v1alpha};

on_both_databases!(
    every_caller_can_list_the_services,
    an_invalid_key_is_refused,
    reflection_is_off_by_default
);

type Authenticated = InterceptedService<Channel, CallerKey>;

async fn channel(server: &Server, key: &str) -> Authenticated {
    InterceptedService::new(
        raw::connect(server.grpc_address()).await,
        CallerKey::new(key).expect("the key is a valid header value"),
    )
}

async fn services(channel: Authenticated) -> Result<Vec<String>, Status> {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request,
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await?;
    let answer = answers.into_inner().message().await?.expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

async fn services_alpha(channel: Authenticated) -> Result<Vec<String>, Status> {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request,
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await?;
    let answer = answers.into_inner().message().await?.expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

async fn every_caller_can_list_the_services(installation: Installation) {
    let server = installation.start_with(["--reflection"]).await;
    let key = server.caller("gateway", Role::Verifier).await.secret;
    let answers = [
        services(channel(&server, &key).await).await.expect("v1 is served"),
        services_alpha(channel(&server, &key).await)
            .await
            .expect("v1alpha is served"),
    ];
    for services in answers {
        for service in
            ["TokenVerify", "TokenAdmin", "WorkspaceAdmin", "CallerAdmin"].map(|service| format!("tokend.v1.{service}"))
        {
            assert!(services.contains(&service), "{service} is not among {services:?}");
        }
        assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
    }
}

async fn an_invalid_key_is_refused(installation: Installation) {
    let server = installation.start_with(["--reflection"]).await;
    let stranger = channel(&server, "garbage").await;
    for status in [services(stranger.clone()).await, services_alpha(stranger).await] {
        refusal(
            &status.expect_err("an invalid key is refused"),
            Code::Unauthenticated,
            ErrorReason::InvalidCredential,
        );
    }
}

async fn reflection_is_off_by_default(installation: Installation) {
    let server = installation.start().await;
    let admin = channel(&server, server.admin_key()).await;
    for status in [services(admin.clone()).await, services_alpha(admin).await] {
        refusal(
            &status.expect_err("reflection is off"),
            Code::Unimplemented,
            ErrorReason::UnknownMethod,
        );
    }
}
