//! Commands about one resource: they show it, or change its state.

use clap::Args;
use tokend_client::Client;
use tonic::{Response, Status};

use super::{
    connection::Connection,
    names::Named,
    output::{Answer, Output},
};
use crate::command_error::CommandError;

/// Arguments of a command about one resource.
#[derive(Debug, Args)]
pub(crate) struct GetArgs<N: Args> {
    #[command(flatten)]
    name: N,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Arguments of a command that suspends, deletes or revokes one resource.
#[derive(Debug, Args)]
pub(crate) struct EndArgs<N: Args> {
    #[command(flatten)]
    name: N,
    #[command(flatten)]
    no_wait: NoWait,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Whether to wait until a change has reached every server.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct NoWait {
    /// Return before all servers and caches have applied the change
    #[arg(long)]
    pub(super) no_wait: bool,
}

impl<N: Named> GetArgs<N> {
    /// Prints the response to a call that reads the resource.
    ///
    /// # Errors
    /// The client can't connect, the call fails, or stdout can't be written to.
    pub(super) async fn show<A: Answer>(
        self,
        call: impl AsyncFnOnce(Client, String) -> Result<Response<A>, Status>,
    ) -> Result<(), CommandError> {
        let client = self.connection.open().await?;
        let answer = call(client, self.name.into_name()).await?;
        self.output.print(answer.get_ref())
    }

    /// Prints the response to a call that changes the resource. `done` names the change, such as "resumed".
    ///
    /// # Errors
    /// The client can't connect, the call fails, or stdout can't be written to.
    pub(super) async fn change<A: Answer>(
        self,
        done: &str,
        call: impl AsyncFnOnce(Client, String) -> Result<Response<A>, Status>,
    ) -> Result<(), CommandError> {
        let client = self.connection.open().await?;
        let name = self.name.into_name();
        let answer = call(client, name.clone()).await?;
        self.output.print_done(answer.get_ref(), &format!("{name} is {done}"))
    }
}

impl<N: Named> EndArgs<N> {
    /// Prints the response to a call that ends the resource. `done` names the change, such as "deleted". `call` gets
    /// the client, the name, and whether to return without waiting.
    ///
    /// # Errors
    /// The client can't connect, the call fails, or stdout can't be written to.
    pub(super) async fn change<A: Answer>(
        self,
        done: &str,
        call: impl AsyncFnOnce(Client, String, bool) -> Result<Response<A>, Status>,
    ) -> Result<(), CommandError> {
        let Self {
            name,
            no_wait: NoWait { no_wait },
            output,
            connection,
        } = self;
        let get = GetArgs {
            name,
            output,
            connection,
        };
        get.change(done, async |client, name| call(client, name, no_wait).await)
            .await
    }
}
