//! Which limits a call comes under.

/// How many calls one about many things counts as.
const BATCH: usize = 4;

/// Kinds of calls, as limits tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Asks for verdicts.
    Verification,
    /// Revokes, or ends or suspends what verdicts rest on: goes its own way, on which nothing else can be in front of it.
    Revocation,
    /// Is answered until one side has enough.
    Stream,
    /// The same about health, for which nobody has to authenticate: strangers must not take the room of other streams.
    HealthWatch,
    /// Asks for health, which costs next to nothing, and is told by a server that is full as well: one that sheds load is no sick
    /// one.
    Probe,
    /// Everything else.
    Administration,
}

impl Traffic {
    /// The kind of a call to `path`, whether or not there is such a method.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/tokend.v1.TokenVerify/Verify" | "/tokend.v1.TokenVerify/BatchVerify" => Self::Verification,
            "/tokend.v1.TokenAdmin/RevokeToken"
            | "/tokend.v1.TokenAdmin/BatchRevokeTokens"
            | "/tokend.v1.TokenAdmin/RevokeLeakedTokens"
            | "/tokend.v1.WorkspaceAdmin/SuspendWorkspace"
            | "/tokend.v1.WorkspaceAdmin/DeleteWorkspace"
            | "/tokend.v1.CallerAdmin/RevokeCallerKey"
            | "/tokend.v1.CallerAdmin/DeleteCaller" => Self::Revocation,
            "/grpc.health.v1.Health/Check" => Self::Probe,
            "/grpc.health.v1.Health/Watch" => Self::HealthWatch,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Self::Stream,
            // Streams of the contract are called so; a test holds the contract to it.
            _ if path.starts_with("/tokend.v1.") && method(path).starts_with("Watch") => Self::Stream,
            _ => Self::Administration,
        }
    }
}

impl Traffic {
    /// How much room a call to `path` takes: calls about many things do several at once.
    pub(crate) fn size_of(path: &str) -> usize {
        match path {
            "/tokend.v1.TokenVerify/BatchVerify"
            | "/tokend.v1.TokenAdmin/BatchRevokeTokens"
            | "/tokend.v1.TokenAdmin/RevokeLeakedTokens" => BATCH,
            _ => 1,
        }
    }

    /// Whether the answer goes on behind its head.
    pub(crate) const fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::HealthWatch)
    }
}

fn method(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_stream_and_nothing_else_is_one() {
        let sets = [
            tokend_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut streams = 0;
        for file in sets.iter().flat_map(|set| FileDescriptorSet::decode(*set).expect("a descriptor set").file) {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert_eq!(Traffic::of(&path).is_stream(), method.server_streaming(), "{path}");
                    streams += usize::from(method.server_streaming());
                }
            }
        }
        assert!(streams >= 3, "{streams}");
    }
}
