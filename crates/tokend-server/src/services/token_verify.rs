use std::sync::Arc;

use tokend_proto::{
    request::token_verify::{BatchVerify, Verify},
    v1,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    access::verifying,
    refusal::Refusal,
    usecases::{Context, verify},
};

/// May this token do this, here, now?
#[derive(Debug)]
pub(crate) struct TokenVerifyService(pub(crate) Arc<Context>);

#[async_trait]
impl v1::token_verify_server::TokenVerify for TokenVerifyService {
    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let (caller, message) = verifying(request)?;
        let question = Verify::from_message(message, &self.0.catalog).map_err(Refusal::from)?;
        let verification = verify::verify(&self.0, &caller, question).await?;
        Ok(Response::new(verification.into_message(&self.0.catalog)))
    }

    async fn batch_verify(&self, request: Request<v1::BatchVerifyRequest>) -> Result<Response<v1::BatchVerifyResponse>, Status> {
        let (caller, message) = verifying(request)?;
        let BatchVerify { questions } = BatchVerify::from_message(message, &self.0.catalog).map_err(Refusal::from)?;
        let verifications = verify::verify_each(&self.0, &caller, questions).await?;
        let responses = verifications.into_iter().map(|verification| verification.into_message(&self.0.catalog)).collect();
        Ok(Response::new(v1::BatchVerifyResponse { responses }))
    }
}
