use std::time::Duration;

use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{feed::FeedHead, row_mac::RowMac};

use super::{Row, column, flag, revision};
use crate::entity::feed::{ActiveModel, Model};

impl Row for FeedHead {
    type Id = i16;
    type Model = Model;

    const KEY: &'static str = "one";

    fn key(model: &Model) -> String {
        model.one.to_string()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get::<i16>(prefix, Self::KEY).ok().map(|one| one.to_string())
    }

    fn mac(model: &Model) -> &[u8] {
        model.mac.as_deref().unwrap_or_default()
    }

    fn from_model(model: Model) -> Result<Self, String> {
        let Model { one: _, epoch, revision: number, grant_micros, wait_micros, time_floor: _, last_ending, restoring, mac: _ } =
            model;
        let span = |name, micros| column(name, u64::try_from(micros)).map(Duration::from_micros);
        Ok(Self {
            revision: revision(epoch, number)?,
            last_ending: column("last_ending", u64::try_from(last_ending))?,
            is_restoring: flag("restoring", restoring)?,
            grant: span("grant_micros", grant_micros)?,
            wait: span("wait_micros", wait_micros)?,
        })
    }
}

/// The columns to store. The time floor is not among them: it is raised apart from what is sealed.
pub(crate) fn to_model(head: &FeedHead, mac: &RowMac) -> ActiveModel {
    let FeedHead { revision, last_ending, is_restoring, grant, wait } = head;
    let micros = |span: &Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    ActiveModel {
        epoch: Set(revision.epoch.cast_signed()),
        revision: Set(revision.number.cast_signed()),
        grant_micros: Set(micros(grant)),
        wait_micros: Set(micros(wait)),
        last_ending: Set(last_ending.cast_signed()),
        restoring: Set((*is_restoring).into()),
        mac: Set(Some(mac.to_bytes().to_vec())),
        ..Default::default()
    }
}
