//! A request that is not a gRPC call gets an HTTP error and has no effect, even from an ADMIN.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use prost::Message;
use tokend_client::v1::{CreateCallerRequest, ErrorReason, ListCallersRequest, Role, Selection};
use tokend_tests::{Installation, Server, on_both_databases, raw, refusal};
use tonic::{Code, Status};

on_both_databases!(
    only_a_post_is_a_call,
    only_grpc_is_a_call,
    every_spelling_of_grpc_is_a_call,
    a_compressed_message_is_refused,
);

const CREATE: &str = "/tokend.v1.CallerAdmin/CreateCaller";

/// Sends CreateCaller as the ADMIN, with this HTTP method and these headers.
async fn send(server: &Server, method: Method, headers: &[(&str, &str)]) -> http::Response<h2::RecvStream> {
    let socket = tokio::net::TcpStream::connect(server.grpc_address())
        .await
        .expect("the server accepts the connection");
    let (requests, connection) = h2::client::handshake(socket).await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://tokend{CREATE}"))
        .header("te", "trailers");
    request = request.header("authorization", raw::bearer(server.admin_key()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut requests = requests.ready().await.expect("the connection is open");
    let (answer, mut body) = requests
        .send_request(request.body(()).expect("a valid request"), false)
        .expect("the request is sent");
    let message = CreateCallerRequest {
        caller_id: "eve".to_owned(),
        role: Role::Admin.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        ..Default::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    // The server may have refused the request already.
    let _ = body.send_data(Bytes::from([&[0][..], &length, &message].concat()), true);
    answer.await.expect("the server answers")
}

async fn callers(server: &Server) -> usize {
    let list = server
        .admin()
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await;
    list.expect("ListCallers succeeds").into_inner().callers.len()
}

async fn only_a_post_is_a_call(installation: Installation) {
    let server = installation.start().await;
    for method in [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        let answer = send(&server, method.clone(), &[("content-type", "application/grpc")]).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "POST");
    }
    assert_eq!(callers(&server).await, 1);
}

async fn only_grpc_is_a_call(installation: Installation) {
    let server = installation.start().await;
    let foreign = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json",
        "application/grpc-web",
        "application/grpc+json",
    ];
    for content_type in foreign {
        let answer = send(&server, Method::POST, &[("content-type", content_type)]).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let several = [("content-type", "application/grpc"), ("content-type", "text/plain")];
    for headers in [&[][..], &several] {
        assert_eq!(
            send(&server, Method::POST, headers).await.status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
    }
    assert_eq!(callers(&server).await, 1);
}

async fn every_spelling_of_grpc_is_a_call(installation: Installation) {
    let server = installation.start().await;
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC",
        "application/grpc; x=y",
    ] {
        let answer = send(&server, Method::POST, &[("content-type", content_type)]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{content_type}");
    }
    assert_eq!(callers(&server).await, 2);
}

async fn a_compressed_message_is_refused(installation: Installation) {
    let server = installation.start().await;
    for encoding in ["gzip", "deflate", "hunter2"] {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", encoding)];
        let answer = send(&server, Method::POST, &headers).await;
        assert_eq!(answer.headers()["grpc-accept-encoding"], "identity");
        let status = Status::from_header_map(answer.headers()).expect("the call is refused");
        let failure = refusal(&status, Code::Unimplemented, ErrorReason::EncodingNotServed);
        assert!(failure.message.contains(encoding), "{failure}");
    }
    let answer = send(
        &server,
        Method::POST,
        &[("content-type", "application/grpc"), ("grpc-encoding", "identity")],
    )
    .await;
    assert!(Status::from_header_map(answer.headers()).is_none(), "{answer:?}");
    assert_eq!(callers(&server).await, 2);
}
