//! Definitions, principals and permissions.

use super::{Expr, Module, ModuleWord, ObjectName, SecurityPolicy, SequenceOptions};
use crate::SqlType;
use crate::engine::collation::Label;
use crate::storage::{ColumnTraits, ReferentialAction};

/// Definitions.
#[derive(Debug)]
pub enum Ddl {
    /// `CREATE DATABASE`
    CreateDatabase {
        /// Name.
        name: String,
        /// Filegroups beside PRIMARY.
        filegroups: Vec<String>,
        /// COLLATE.
        collation: Option<Label>,
    },
    /// `CREATE PARTITION FUNCTION`
    CreatePartitionFunction {
        /// Name.
        name: String,
        /// Type.
        ty: SqlType,
        /// RANGE RIGHT.
        right: bool,
        /// Boundaries.
        values: Vec<Expr>,
    },
    /// `CREATE PARTITION SCHEME`
    CreatePartitionScheme {
        /// Name.
        name: String,
        /// Its function.
        function: String,
        /// ALL: one filegroup for every partition.
        all: bool,
        /// Filegroups.
        spaces: Vec<String>,
    },
    /// `CREATE SEQUENCE`
    CreateSequence {
        /// Name.
        name: ObjectName,
        /// What is given.
        options: SequenceOptions,
    },
    /// `ALTER SEQUENCE`
    AlterSequence {
        /// Name.
        name: ObjectName,
        /// What is given.
        options: SequenceOptions,
    },
    /// `DROP PARTITION FUNCTION`
    DropPartitionFunction(String),
    /// `DROP PARTITION SCHEME`
    DropPartitionScheme(String),
    /// `DROP DATABASE [IF EXISTS]`
    DropDatabase {
        /// Names.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `ALTER DATABASE x SET …`
    AlterDatabase {
        /// Name, none for CURRENT.
        name: Option<String>,
        /// Options.
        options: Vec<DatabaseOption>,
    },
    /// `CREATE SCHEMA`
    CreateSchema {
        /// Name.
        name: String,
        /// AUTHORIZATION.
        owner: Option<String>,
    },
    /// `DROP SCHEMA`
    DropSchema {
        /// Name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE TYPE … FROM`
    CreateType {
        /// Name.
        name: ObjectName,
        /// Base type.
        ty: SqlType,
        /// Whether columns of it may be NULL unless they say so.
        nullable: bool,
    },
    /// `DROP TYPE`
    DropType {
        /// Name.
        name: ObjectName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE TABLE`
    CreateTable {
        /// Name.
        name: ObjectName,
        /// Columns.
        columns: Vec<ColumnDefinition>,
        /// Table constraints.
        constraints: Vec<ConstraintDefinition>,
        /// How it is kept.
        options: IndexOptions,
        /// TEXTIMAGE_ON.
        lob_space: Option<String>,
    },
    /// `DROP TABLE`
    DropTable {
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE INDEX`
    CreateIndex {
        /// Index.
        name: String,
        /// Table.
        table: ObjectName,
        /// What it is.
        index: IndexDefinition,
        /// DROP_EXISTING: it takes the place of the one of its name.
        drop_existing: bool,
    },
    /// `ALTER INDEX`
    AlterIndex {
        /// Index, none for ALL.
        name: Option<String>,
        /// Table.
        table: ObjectName,
        /// Change.
        action: AlterIndex,
    },
    /// `DROP INDEX`
    DropIndex {
        /// Indexes and their tables.
        indexes: Vec<(String, ObjectName)>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `ALTER TABLE`
    AlterTable {
        /// Table.
        table: ObjectName,
        /// Change.
        action: AlterTable,
    },
    /// `CREATE` or `ALTER` of a view or procedure.
    Module(Box<Module>),
    /// `CREATE` or `ALTER SECURITY POLICY`
    Policy(Box<SecurityPolicy>),
    /// `DROP SECURITY POLICY`
    DropPolicy {
        /// Name.
        name: ObjectName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `DROP VIEW` and kin.
    DropModules {
        /// What is dropped.
        kind: ModuleWord,
        /// Names.
        names: Vec<ObjectName>,
        /// IF EXISTS.
        if_exists: bool,
    },
}

/// Settable options of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseOption {
    /// `COLLATE`
    Collate(Label),
    /// `ADD FILEGROUP`
    AddFilegroup(String),
    /// `REMOVE FILEGROUP`
    RemoveFilegroup(String),
    /// An option that the catalogue shows and nothing else depends on, with its value.
    Shown(&'static str, String),

    /// `ALLOW_SNAPSHOT_ISOLATION ON|OFF`
    AllowSnapshot(bool),
    /// `COMPATIBILITY_LEVEL = n`
    CompatibilityLevel(i64),
    /// `READ_COMMITTED_SNAPSHOT ON|OFF`
    ReadCommittedSnapshot(bool),
    /// `RECOVERY …`, `MULTI_USER` and others without effect here.
    Accepted,
}

/// An index as written.
#[derive(Clone, Debug)]
pub struct IndexDefinition {
    /// UNIQUE.
    pub unique: bool,
    /// CLUSTERED.
    pub clustered: bool,
    /// Key columns and whether descending.
    pub columns: Vec<(String, bool)>,
    /// INCLUDE.
    pub include: Vec<String>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// How it is kept.
    pub options: IndexOptions,
}

/// `WITH (…) ON …`: what is given of how an index or table is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// FILLFACTOR.
    pub fill_factor: Option<u8>,
    /// PAD_INDEX.
    pub padded: Option<bool>,
    /// ALLOW_ROW_LOCKS.
    pub row_locks: Option<bool>,
    /// ALLOW_PAGE_LOCKS.
    pub page_locks: Option<bool>,
    /// OPTIMIZE_FOR_SEQUENTIAL_KEY.
    pub sequential: Option<bool>,
    /// DATA_COMPRESSION.
    pub compression: Option<u8>,
    /// DROP_EXISTING.
    pub drop_existing: bool,
    /// Filegroup, or partition scheme with its column.
    pub space: Option<(String, Option<String>)>,
}

/// Changes of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterIndex {
    /// `DISABLE`
    Disable,
    /// `REBUILD`
    Rebuild(IndexOptions),
    /// `SET`
    Set(IndexOptions),
    /// `REORGANIZE`, which changes nothing here.
    Reorganize,
}

/// What becomes of constraints that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabling {
    /// `CHECK CONSTRAINT`
    On {
        /// `WITH CHECK`: over the rows there are, too.
        checked: bool,
    },
    /// `NOCHECK CONSTRAINT`
    Off,
}

/// Changes of a table.
#[derive(Debug)]
pub enum AlterTable {
    /// `ADD column …, CONSTRAINT …`
    Add {
        /// Columns.
        columns: Vec<ColumnDefinition>,
        /// Constraints.
        constraints: Vec<ConstraintDefinition>,
        /// Whether the rows there are must fulfil them.
        checked: bool,
    },
    /// `[WITH CHECK|NOCHECK] CHECK|NOCHECK CONSTRAINT`
    Constraints {
        /// Constraints, none for ALL.
        names: Option<Vec<String>>,
        /// What becomes of them.
        enable: Enabling,
    },
    /// `ALTER COLUMN`
    AlterColumn {
        /// Column.
        name: String,
        /// New type.
        ty: SqlType,
        /// Name of the alias type, which then says what `ty` is.
        user_type: Option<ObjectName>,
        /// NULL or NOT NULL, where given.
        nullable: Option<bool>,
        /// COLLATE.
        collation: Option<Label>,
        /// MASKED WITH (FUNCTION = …).
        mask: Option<String>,
    },
    /// `ALTER COLUMN … ADD MASKED WITH (FUNCTION = …)`, or `DROP MASKED`
    Mask {
        /// Column.
        name: String,
        /// Function, none for DROP.
        function: Option<String>,
    },
    /// `ALTER COLUMN c ADD|DROP ROWGUIDCOL|SPARSE|NOT FOR REPLICATION`
    AlterTrait {
        /// Column.
        name: String,
        /// The one trait.
        which: ColumnTraits,
        /// ADD.
        on: bool,
    },
    /// `REBUILD`
    Rebuild(IndexOptions),
    /// `DROP COLUMN`
    DropColumns {
        /// Columns.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `SWITCH TO`
    Switch {
        /// Table that takes the rows.
        target: ObjectName,
    },
    /// `DROP CONSTRAINT`
    DropConstraints {
        /// Constraints.
        names: Vec<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
}

/// A column of CREATE TABLE or ADD.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Type, or the expression of a computed column.
    pub content: ColumnContent,
    /// NULL or NOT NULL, where given.
    pub nullable: Option<bool>,
    /// COLLATE.
    pub collation: Option<Label>,
    /// MASKED WITH (FUNCTION = …).
    pub mask: Option<String>,
    /// IDENTITY (seed, increment).
    pub identity: Option<(i64, i64)>,
    /// DEFAULT.
    pub default: Option<DefaultDefinition>,
    /// Constraints written with the column.
    pub constraints: Vec<ConstraintDefinition>,
    /// ROWGUIDCOL, SPARSE, NOT FOR REPLICATION.
    pub traits: ColumnTraits,
}

/// What fills a column.
#[derive(Clone, Debug)]
pub enum ColumnContent {
    /// Values of a type; `user_type` is the alias's name where one was used.
    Stored {
        /// Type.
        ty: SqlType,
        /// Name of the alias type, which then says what `ty` is.
        user_type: Option<ObjectName>,
    },
    /// `AS (expression)`
    Computed {
        /// Expression.
        text: SourceText,
        /// PERSISTED.
        persisted: bool,
    },
}

/// An expression kept with its text for the catalogue.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// As SQL Server shows it: in parentheses.
    pub text: String,
    /// Parsed.
    pub value: Expr,
}

/// `[CONSTRAINT name] DEFAULT x`
#[derive(Clone, Debug)]
pub struct DefaultDefinition {
    /// Name, where given.
    pub name: Option<String>,
    /// Value.
    pub value: SourceText,
    /// WITH VALUES: rows that are there take it, too, where the column may be NULL.
    pub for_rows: bool,
}

/// A constraint.
#[derive(Clone, Debug)]
pub struct ConstraintDefinition {
    /// Name, where given.
    pub name: Option<String>,
    /// Content.
    pub content: ConstraintContent,
}

/// A FOREIGN KEY as written.
#[derive(Clone, Debug)]
pub struct ForeignKeyDefinition {
    /// Columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub table: ObjectName,
    /// Referenced columns, empty for its primary key.
    pub referenced: Vec<String>,
    /// ON DELETE
    pub on_delete: ReferentialAction,
    /// ON UPDATE
    pub on_update: ReferentialAction,
    /// NOT FOR REPLICATION.
    pub not_for_replication: bool,
}

/// What a constraint demands.
#[derive(Clone, Debug)]
pub enum ConstraintContent {
    /// PRIMARY KEY or UNIQUE.
    Key {
        /// PRIMARY KEY.
        primary: bool,
        /// CLUSTERED or NONCLUSTERED, where given.
        clustered: Option<bool>,
        /// Columns and whether descending.
        columns: Vec<(String, bool)>,
        /// How it is kept.
        options: IndexOptions,
    },
    /// `INDEX` among the columns.
    Index(IndexDefinition),
    /// FOREIGN KEY.
    ForeignKey(ForeignKeyDefinition),
    /// CHECK.
    Check {
        /// Condition.
        text: SourceText,
        /// NOT FOR REPLICATION.
        not_for_replication: bool,
    },
    /// `DEFAULT x FOR column`
    Default {
        /// Column.
        column: String,
        /// Value.
        value: SourceText,
    },
}

/// Principals and permissions.
#[derive(Debug)]
pub enum Security {
    /// `CREATE LOGIN x WITH PASSWORD = '…'`
    CreateLogin {
        /// Name.
        name: String,
        /// Password.
        password: String,
        /// DEFAULT_DATABASE.
        database: Option<String>,
    },
    /// `ALTER LOGIN x WITH PASSWORD = '…'`
    AlterLogin {
        /// Name.
        name: String,
        /// New password.
        password: String,
    },
    /// `DROP LOGIN x`
    DropLogin(String),
    /// `CREATE USER x FOR LOGIN y` or `WITHOUT LOGIN`
    CreateUser {
        /// Name.
        name: String,
        /// Login; none for WITHOUT LOGIN.
        login: Option<String>,
    },
    /// `DROP USER [IF EXISTS] x`
    DropUser {
        /// Name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `CREATE ROLE x`
    CreateRole(String),
    /// `DROP ROLE x`
    DropRole(String),
    /// `ALTER [SERVER] ROLE x ADD|DROP MEMBER y`
    AlterRole {
        /// A server role.
        server: bool,
        /// Role.
        role: String,
        /// Member.
        member: String,
        /// ADD rather than DROP.
        add: bool,
    },
    /// `GRANT`, `DENY`, `REVOKE`
    Permission {
        /// What happens to the permission.
        action: PermissionAction,
        /// Permissions, upper case.
        permissions: Vec<String>,
        /// What they are on.
        securable: Securable,
        /// Users or roles.
        principals: Vec<String>,
    },
}

/// What happens to a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionAction {
    /// GRANT
    Grant,
    /// DENY
    Deny,
    /// REVOKE
    Revoke,
}

/// What a permission is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Securable {
    /// The database, or the server for permissions of that scope.
    Scope,
    /// A schema.
    Schema(String),
    /// A table, with columns where given.
    Object(ObjectName, Vec<String>),
}
