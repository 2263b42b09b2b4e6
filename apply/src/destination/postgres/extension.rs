//! Types of extensions in the target: their numbers are the database's own, and their schema is where
//! somebody installed them.

use tokio_postgres::Client;

use super::types::PgType;

/// What the target has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions {
    types: Vec<ExtensionType>,
    /// It has collations of ICU.
    pub(super) icu: bool,
}

/// A type of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtensionType {
    ty: PgType,
    pub(super) schema: String,
}

/// Rows of types of the extensions that apply writes. A type of the same name that is not of the
/// extension is another one, and has another form.
const TYPES: &str = "SELECT e.extname::text, t.typname::text, n.nspname::text \
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_type t ON t.oid = d.objid \
    JOIN pg_namespace n ON n.oid = t.typnamespace \
    WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_extension'::regclass \
    AND d.deptype = 'e' AND t.typname IN ('citext', 'geometry', 'geography', 'vector')";

impl Extensions {
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let rows = client.query(TYPES, &[]).await?;
        let types = rows.iter().filter_map(|row| {
            let ty = PgType::of_extension(row.get(0), row.get(1), -1)?;
            Some(ExtensionType { ty, schema: row.get(2) })
        });
        let icu = "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')";
        Ok(Extensions { types: types.collect(), icu: client.query_one(icu, &[]).await?.get(0) })
    }

    /// The type, whatever its limits; none where it is not installed.
    pub(super) fn find(&self, ty: PgType) -> Option<&ExtensionType> {
        let ty = match ty {
            PgType::Vector(_) => PgType::Vector(None),
            other => other,
        };
        self.types.iter().find(|found| found.ty == ty)
    }
}
