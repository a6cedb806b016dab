use std::time::Duration;

use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    feed::{FeedEntry, FeedHead},
    lease::Terms,
    row_mac::RowMac,
};

use crate::{
    feed::tables::{
        feed::{ActiveModel, Model},
        feed_log,
    },
    row::{Row, column, flag, revision},
};

impl Row for FeedHead {
    type Id = i16;
    type Model = Model;

    const KEY: &'static str = "one";

    fn key(model: &Model) -> String {
        model.one.to_string()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns
            .try_get::<i16>(prefix, Self::KEY)
            .ok()
            .map(|one| one.to_string())
    }

    fn mac(model: &Model) -> &[u8] {
        model.mac.as_deref().unwrap_or_default()
    }

    fn from_model(model: Model) -> Result<Self, String> {
        let Model {
            one: _,
            epoch,
            revision: number,
            grant_micros,
            wait_micros,
            time_floor: _,
            last_revocation,
            restoring,
            terms,
            mac: _,
        } = model;
        let span = |name, micros| column(name, u64::try_from(micros)).map(Duration::from_micros);
        Ok(Self {
            revision: revision(epoch, number)?,
            last_revocation: column("last_ending", u64::try_from(last_revocation))?,
            is_restoring: flag("restoring", restoring)?,
            terms: Terms {
                grant: span("grant_micros", grant_micros)?,
                wait: span("wait_micros", wait_micros)?,
                number: column("terms", u64::try_from(terms))?,
            },
        })
    }
}

impl Row for FeedEntry {
    type Id = i64;
    type Model = feed_log::Model;

    const KEY: &'static str = "revision";

    fn key(model: &feed_log::Model) -> String {
        model.revision.to_string()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns
            .try_get::<i64>(prefix, Self::KEY)
            .ok()
            .map(|number| number.to_string())
    }

    fn mac(model: &feed_log::Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: feed_log::Model) -> Result<Self, String> {
        let feed_log::Model {
            revision: number,
            epoch,
            body,
            mac: _,
        } = model;
        column("body", Self::from_body(revision(epoch, number)?, &body))
    }
}

/// Returns the columns to store, without the time floor, which is not sealed.
pub(crate) fn to_model(head: &FeedHead, mac: &RowMac) -> ActiveModel {
    let FeedHead {
        revision,
        last_revocation,
        is_restoring,
        terms: Terms { grant, wait, number },
    } = head;
    let micros = |span: &Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    ActiveModel {
        epoch: Set(revision.epoch.cast_signed()),
        revision: Set(revision.number.cast_signed()),
        grant_micros: Set(micros(grant)),
        wait_micros: Set(micros(wait)),
        last_revocation: Set(last_revocation.cast_signed()),
        restoring: Set((*is_restoring).into()),
        terms: Set(number.cast_signed()),
        mac: Set(Some(mac.to_bytes().to_vec())),
        ..Default::default()
    }
}
