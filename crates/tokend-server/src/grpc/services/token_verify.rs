use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};

use tokend_proto::{
    request::{
        token_verify::{BatchVerify, Verify},
        watch::WatchMessage,
    },
    v1,
    view::WatchUpdate,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    error::ServiceError,
    grpc::call::authenticated_verifier,
    usecases::{
        Context, verify,
        watch::{Happened, Watch},
    },
};

/// Answers whether a token may do something, here and now.
#[derive(Debug)]
pub(crate) struct TokenVerifyService {
    pub(crate) context: Arc<Context>,
    /// Ends watches.
    pub(crate) stop: CancellationToken,
}

/// What comes next in a watch.
enum Next {
    /// Something happened on the server.
    Happened(Happened),
    /// A message of the client, or its end.
    Message(Option<v1::WatchRequest>),
}

#[async_trait]
impl v1::token_verify_server::TokenVerify for TokenVerifyService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let (call, message) = authenticated_verifier(request)?;
        let question = Verify::from_message(message, &self.context.catalog).map_err(ServiceError::from)?;
        let verification = verify::verify(&self.context, &call, question).await?;
        Ok(Response::new(verification.into_message(&self.context.catalog)))
    }

    async fn batch_verify(
        &self,
        request: Request<v1::BatchVerifyRequest>,
    ) -> Result<Response<v1::BatchVerifyResponse>, Status> {
        let (call, message) = authenticated_verifier(request)?;
        let BatchVerify { questions } =
            BatchVerify::from_message(message, &self.context.catalog).map_err(ServiceError::from)?;
        let verifications = verify::verify_each(&self.context, &call, questions).await?;
        let responses = verifications
            .into_iter()
            .map(|verification| verification.into_message(&self.context.catalog))
            .collect();
        Ok(Response::new(v1::BatchVerifyResponse { responses }))
    }

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (call, messages) = authenticated_verifier(request)?;
        let watch = Watch::begin(&self.context, &call, self.stop.clone());
        let catalog = Arc::clone(&self.context.catalog);
        let responses = stream::try_unfold(Some((watch, messages)), move |state| {
            let catalog = Arc::clone(&catalog);
            async move {
                let Some((mut watch, mut messages)) = state else {
                    return Ok(None);
                };
                loop {
                    // Only what loses nothing when it is cancelled.
                    let next = tokio::select! {
                        happened = watch.happened() => Next::Happened(happened),
                        message = messages.message() => Next::Message(message?),
                    };
                    let update = match next {
                        Next::Happened(happened) => watch.tell(happened).await?,
                        Next::Message(None) => None,
                        Next::Message(Some(message)) => {
                            let message = WatchMessage::from_message(message, &catalog).map_err(ServiceError::from)?;
                            Some(watch.message(message).await?)
                        }
                    };
                    let Some(update) = update else {
                        return Ok(None);
                    };
                    // Uses need no answer, and news that the caller may not know are none.
                    if update != WatchUpdate::default() {
                        return Ok(Some((update.into(), Some((watch, messages)))));
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
