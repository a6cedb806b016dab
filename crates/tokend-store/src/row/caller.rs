use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    caller::{Caller, Role, WorkspaceAccess},
    certificate_san::{CertificateSan, MalformedCertificateSan},
    row_mac::RowMac,
};

use super::{
    Row, column,
    list::{self, Choice},
    time,
};
use crate::entity::callers::{ActiveModel, Model};

impl Row for Caller {
    type Id = String;
    type Model = Model;

    fn key(model: &Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: Model) -> Result<Self, String> {
        let Model { id, role, workspaces, certificate_sans, create_time, mac: _ } = model;
        Ok(Self {
            id: column("id", id.parse())?,
            role: Role::from_word(&role).ok_or("column role is none of the roles")?,
            workspaces: match column("workspaces", list::split_choice(&workspaces, str::parse))? {
                Choice::All => WorkspaceAccess::All,
                Choice::Only(workspaces) => WorkspaceAccess::Only(workspaces.into_iter().collect()),
            },
            certificate_sans: column("certificate_sans", sans(&certificate_sans))?,
            create_time: time("create_time", create_time)?,
        })
    }
}

fn sans(text: &str) -> Result<Vec<CertificateSan>, String> {
    let sans = list::read_texts(text)?;
    sans.iter().map(|san| san.parse()).collect::<Result<_, MalformedCertificateSan>>().map_err(|error| error.to_string())
}

/// The row to insert.
pub(crate) fn to_model(caller: &Caller, mac: &RowMac) -> ActiveModel {
    let Caller { id, role, workspaces, certificate_sans, create_time } = caller;
    let only = match workspaces {
        WorkspaceAccess::All => None,
        WorkspaceAccess::Only(workspaces) => Some(workspaces),
    };
    ActiveModel {
        id: Set(id.to_string()),
        role: Set(role.as_str().to_owned()),
        workspaces: Set(list::join_choice(only)),
        certificate_sans: Set(list::write_texts(certificate_sans.iter().map(CertificateSan::as_str))),
        create_time: Set(create_time.unix_micros()),
        mac: Set(mac.to_bytes().to_vec()),
    }
}
