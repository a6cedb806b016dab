//! The servers of a run.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::Args;
use crate::{
    BoxError,
    driver::{self, Answers, Shape, Target},
    floor,
    servers::{self, Certificate, Installation, ServerProcess, tokend_beside_this},
};

/// The path of Verify.
pub const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
/// How the tokens are read into memory, before anything is measured.
const LOADING: Shape = Shape {
    connections: 1,
    streams: 16,
};

/// One of the servers that are measured.
pub(crate) struct Contender {
    pub(super) kind: Kind,
    pub(super) target: Arc<Target>,
    server: ServerProcess,
    /// tokend's. It is removed when this is dropped.
    installation: Option<Installation>,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// tokend. All others are compared with it.
    Tokend,
    /// Another build.
    Against,
    /// The same build once more.
    Noise,
    /// The same build with few tokens in its database.
    FewTokens,
    /// An empty call on tonic's own server.
    StockTonic,
    /// An empty call on tokend's transport.
    SameLoop,
}

impl Contender {
    /// Starts a server of tokend that answers questions about the first `count` tokens, and lets it read them into
    /// memory.
    ///
    /// # Errors
    /// It does not start, or an answer is wrong.
    pub(crate) async fn start(
        kind: Kind,
        tokend: &Path,
        installation: Installation,
        count: usize,
        tls: Option<&Certificate>,
    ) -> Result<Self, BoxError> {
        let server = installation.serve(tokend, "serve", tls)?;
        let questions = installation.questions(count);
        let target = Arc::new(Target::new(
            (server.address(), server.pid()),
            tls.map(Certificate::connector).transpose()?,
            VERIFY,
            installation.key(),
            &questions.messages,
            Answers::Allow(questions.names),
        )?);
        driver::call(&target, LOADING, u64::try_from(count)?).await?;
        Ok(Self {
            kind,
            target,
            server,
            installation: Some(installation),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns how many of tokend's look-ups of tokens were answered from memory so far, and how many of them read the
    /// database.
    pub(super) fn look_ups(&self) -> Result<[f64; 2], BoxError> {
        let of = |source| {
            self.server
                .metric(&format!("tokend_token_look_ups_total{{source=\"{source}\"}}"))
        };
        Ok([of("memory")?, of("database")?])
    }

    fn key(&self) -> &str {
        self.installation.as_ref().map_or("", Installation::key)
    }

    pub(super) fn stop(self) -> Result<(), BoxError> {
        self.server.stop()
    }
}

/// Starts all servers, with tokend first, and lets tokend read the tokens into memory.
pub(super) async fn start(
    args: &Args,
    tokens: usize,
    certificate: Option<&Certificate>,
) -> Result<Vec<Contender>, BoxError> {
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let installation = Installation::new(&tokend, args.database.create()?, tokens).await?;

    // Copies first: no server may be running on what is copied.
    let mut builds = Vec::new();
    for (kind, path) in [
        (Kind::Against, args.against.as_deref()),
        (Kind::Noise, args.noise.then_some(&*tokend)),
    ] {
        if let Some(path) = path {
            builds.push((kind, path, installation.copy()?));
        }
    }
    builds.insert(0, (Kind::Tokend, &tokend, installation));

    let count = if args.spread { tokens } else { args.hot };
    let mut contenders = Vec::new();
    for (kind, path, installation) in builds {
        contenders.push(Contender::start(kind, path, installation, count, certificate).await?);
    }
    if !args.no_floors {
        let like = &contenders[0];
        let (request, key) = (like.target.request_size(), like.key().to_owned());
        let response = driver::answer_size(&like.target).await?;
        for kind in [floor::Kind::Tonic, floor::Kind::Loop] {
            contenders.push(start_floor(kind, &key, request, response, certificate)?);
        }
    }
    Ok(contenders)
}

fn start_floor(
    kind: floor::Kind,
    key: &str,
    request: usize,
    response: usize,
    tls: Option<&Certificate>,
) -> Result<Contender, BoxError> {
    let server = servers::start_floor(kind, response, tls)?;
    let expected = floor::message_of_size(response).len();
    let target = Target::new(
        (server.address(), server.pid()),
        tls.map(Certificate::connector).transpose()?,
        floor::PATH,
        key,
        &[floor::message_of_size(request)],
        Answers::OfSize(expected),
    )?;
    Ok(Contender {
        kind: match kind {
            floor::Kind::Tonic => Kind::StockTonic,
            floor::Kind::Loop => Kind::SameLoop,
        },
        target: Arc::new(target),
        server,
        installation: None,
    })
}
