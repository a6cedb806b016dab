//! Faults of remote clients, and of their connections to the servers. A guard's Watch stream and its other calls to a
//! server share a connection.

use rustix::process::Signal;
use tokio::{sync::MutexGuard, time::sleep};

use super::{Kind, claim, direction, span};
use crate::{
    cluster::Server,
    endpoint::Endpoint,
    lab::Lab,
    proxy::{Connections, Disturbance},
    random::Random,
};

/// Disturbs the connections between remote clients and a server.
pub(super) async fn front_fault(lab: &Lab, kind: Kind, random: &mut Random) -> bool {
    let Some((server, _claimed)) = claim(lab, random, |server| &server.front_fault) else {
        return false;
    };
    if kind == Kind::CutClients {
        // A Watch stream that begins again is cut, too.
        for _ in 0..=random.below(3) {
            server.front.cut(Connections::All);
            sleep(random.millis(0, 500)).await;
        }
        return true;
    }
    // Many delays are longer than a change waits.
    let (least, most) = random.weighted(&[(1, (20, 1_500)), (1, (1_500, 4_000))]);
    let delay = (kind == Kind::DelayClients).then(|| random.millis(least, most));
    server.front.disturb(vec![Disturbance {
        connections: Connections::All,
        direction: direction(random),
        delay,
    }]);
    // A delay shows only after it.
    sleep(span(lab, random) + delay.unwrap_or_default()).await;
    server.front.heal();
    true
}

/// Stops or kills a client that is a process of its own.
pub(super) async fn client_fault(lab: &Lab, kind: Kind, random: &mut Random) -> bool {
    let programs = lab.endpoints.iter().filter_map(|endpoint| match endpoint {
        Endpoint::Program(program) => Some(program),
        Endpoint::Server(_) | Endpoint::Caching(_) => None,
    });
    let programs: Vec<_> = programs.collect();
    let Some(program) = random.of(&programs) else {
        return false;
    };
    if kind == Kind::KillClient {
        sleep(random.millis(0, 1_000)).await;
        program.restart();
        return true;
    }
    program.signal(Signal::STOP);
    sleep(span(lab, random)).await;
    program.signal(Signal::CONT);
    true
}

/// Lets clients reach no other server than this one, after a while.
pub(super) async fn be_left_alone_with(lab: &Lab, server: &Server, random: &mut Random) {
    // Either a lease of three seconds still runs at the server, or it has not heard of changes that have been answered.
    let (least, most) = random.weighted(&[(1, (1_000, 2_500)), (1, (4_000, 6_000))]);
    sleep(random.millis(least, most)).await;
    let others = lab.cluster.servers().iter().filter(|other| other.index != server.index);
    let others = others.filter_map(|other| Some((other, other.front_fault.try_lock().ok()?)));
    let others: Vec<(&Server, MutexGuard<'_, ()>)> = others.collect();
    others.iter().for_each(|(other, _)| other.front.refuse());
    sleep(random.millis(3_000, 5_000)).await;
    others.iter().for_each(|(other, _)| other.front.heal());
}
