//! Settling, on connect, on what is read from where: the cursor of a new log, the proof that the
//! source is the one that was read, the instances and shapes followed; and looking now and then
//! whether all that still holds.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::{Failure, TICKS_PER_SECOND, TableName, TableVersion};

use super::captured_table::CapturedTable;
use super::catalog;
use super::choice::{self, Candidate};
use super::connection::Lease;
use super::fields::{self, Fields};
use super::identity;
use super::instance::{self, Instance, Standing};
use super::lsn::Lsn;
use super::window::MappingRow;
use super::{SqlServer, ddl, forbidden, held, select, statements, time};
use crate::source::{CommitFingerprint, Cursor, Start};

/// Age of the newest row of `cdc.lsn_time_mapping` above which capture is taken to have stopped: the
/// capture job adds a dummy row about every 305 s when it has nothing else to do.
pub const STALLED_SECONDS: i64 = 660;

/// Finds the cursor of a new log.
pub async fn locate(
    source: &mut SqlServer,
    lease: &mut Lease,
    start: Start,
) -> Result<Cursor, Failure> {
    let instances = select::wanted(source, lease).await?;
    let timeline = source.timeline;
    let at = |lsn: Lsn, row: Option<&MappingRow>, offset| Cursor {
        position: lsn.position(timeline),
        fingerprint: row.map(|row| row.fingerprint(offset)),
    };
    match start {
        Start::After(position) => {
            source.timeline = position.timeline();
            let lsn = source.lsn(&position)?;
            let row = commit_at(lease, lsn).await?;
            let (_, (_, offset)) = newest(lease).await?;
            Ok(Cursor { position, fingerprint: row.map(|row| row.fingerprint(offset)) })
        }
        Start::Now => {
            accept(source, &instances);
            let (lsn, row, offset) = now(lease, source.published).await?;
            Ok(at(lsn, row.as_ref(), offset))
        }
        Start::Load => {
            accept(source, &instances);
            let begins = last_beginning(&instances)?;
            let (lsn, row, offset) = now(lease, source.published).await?;
            // An instance begins where it was made, at a commit that nothing closed may follow yet.
            // What was committed before that was committed before any row is read.
            Ok(if begins > lsn { at(begins, None, offset) } else { at(lsn, row.as_ref(), offset) })
        }
        Start::Time(time) => {
            let (_, (_, offset)) = newest(lease).await?;
            let row = commit_before(lease, time::to_local(time, offset)).await?;
            Ok(match row {
                Some(row) if !row.is_dummy() => at(row.lsn, Some(&row), offset),
                // It may be the newest, and that is not closed.
                Some(dummy) => at(dummy.lsn.previous(), None, offset),
                None => return Err(too_old(time)),
            })
        }
        Start::Earliest => {
            accept(source, &instances);
            let first = instances.iter().filter_map(|instance| instance.start_lsn).min();
            Ok(at(first.unwrap_or_default().previous(), None, 0))
        }
    }
}

/// The newest closed place, with its row when there is one, and the clock's offset.
async fn now(
    lease: &mut Lease,
    published: bool,
) -> Result<(Lsn, Option<MappingRow>, i16), Failure> {
    let (mut rows, (_, offset)) = newest(lease).await?;
    rows.reverse();
    Ok(match (rows.pop(), rows.pop()) {
        (None, _) => (Lsn::ZERO, None, offset),
        (Some(row), _) if !row.is_dummy() && !published => (row.lsn, Some(row), offset),
        // The newest is not closed, if it is a dummy or may be a part; a row below it is.
        (Some(_), Some(row)) => (row.lsn, Some(row), offset),
        (Some(dummy), None) => (dummy.lsn.previous(), None, offset),
    })
}

/// Just before the last instance begins.
///
/// # Errors
/// `Retry` when the capture job has not come to one of them.
fn last_beginning(instances: &[Instance]) -> Result<Lsn, Failure> {
    let mut last = Lsn::ZERO;
    for instance in instances {
        let Some(start) = instance.start_lsn else {
            return Err(Failure::new(
                Code::SourceInstanceNotYet,
                format!(
                    "the capture job has not come to instance {} of {} yet: its table cannot be \
                     loaded before (is SQL Server Agent running?)",
                    instance.name, instance.table
                ),
            ));
        };
        last = last.max(start.previous());
    }
    Ok(last)
}

/// The newest commit before a local time.
async fn commit_before(lease: &mut Lease, local: i64) -> Result<Option<MappingRow>, Failure> {
    let text = time::datetime_text(local);
    let results =
        lease.query(statements::COMMIT_BEFORE, &[&text.as_str()], "look for a time").await?;
    results.iter().flatten().next().map(|row| Fields::new(row, "a commit").mapping()).transpose()
}

fn too_old(time: i64) -> Failure {
    Failure::new(Code::SourceStartTime, format!(
            "the source has nothing left that was committed before {} (UTC)",
            time::datetime_text(time)
        )).remedy("changes since then may have been cleaned up: set capture.start to `earliest` or a later time")
}

/// A new log promises nothing from before: whatever instance is there may begin where it begins.
fn accept(source: &mut SqlServer, instances: &[Instance]) {
    source.accepted.extend(instances.iter().map(|i| (i.change_table_id, i.start_lsn)));
}

async fn newest(lease: &mut Lease) -> Result<(Vec<MappingRow>, (i64, i16)), Failure> {
    let results = lease.batch(statements::NEWEST, "read the newest commit").await?;
    let [rows, clock] = results.as_slice() else {
        return Err(super::wrong_results("read the newest commit"));
    };
    Ok((fields::mapping_rows(rows)?, super::clock_of(clock)?))
}

async fn commit_at(lease: &mut Lease, lsn: Lsn) -> Result<Option<MappingRow>, Failure> {
    let lsn = &lsn.as_bytes()[..];
    let results = lease.query(statements::COMMIT_AT, &[&lsn], "read a commit").await?;
    results.iter().flatten().next().map(|row| Fields::new(row, "a commit").mapping()).transpose()
}

/// Settles on what is followed after `cursor`.
pub async fn settle(
    source: &mut SqlServer,
    lease: &mut Lease,
    cursor: &Cursor,
    known: &[TableVersion],
) -> Result<Vec<Arc<CapturedTable>>, Failure> {
    let identity = catalog::identity(lease).await?;
    if !identity.cdc_enabled {
        return Err(catalog::cdc_off(&identity));
    }
    let lsn = source.lsn(&cursor.position)?;
    let mut evidence = identity::evidence(lease, lsn).await?;
    if cursor.fingerprint.is_none() {
        let instances = catalog::instances(lease).await?;
        evidence.begins = instances.iter().filter_map(|instance| instance.start_lsn).max();
    }
    identity::examine(lsn, cursor.fingerprint.as_ref(), &evidence)?;

    let instances = select::wanted(source, lease).await?;
    let (instances, forbidden) = forbidden::readable(source, lease, instances).await?;
    source.forbidden = forbidden;
    if instances.is_empty() {
        return Err(select::none(source, lease).await);
    }
    // What the log lacks changes of is not what it has: it waits for a load.
    let held = |version: &&TableVersion| !source.new_tables.held.contains(&version.object_id);
    let known: Vec<TableVersion> = known.iter().filter(held).cloned().collect();
    let all = instances.clone();
    let chosen =
        choice::choose(lease, source.timeline, instances, lsn, &known, source.max_value_bytes)
            .await?;
    nothing_vanished(source, &all, &known)?;
    // At the start that `locate` chose for a new log nothing has been read yet, even if the log has
    // the tables' versions already: they go ahead of the first record. Such a cursor lies before
    // every instance and has never been at a commit. A new log promises nothing from before.
    let nothing_read = cursor.fingerprint.is_none()
        && chosen.iter().all(|c| c.instance.start_lsn.is_none_or(|start| lsn < start));
    let mut followed = Vec::with_capacity(chosen.len());
    for Candidate { instance, followed: as_followed, .. } in chosen {
        let object_id = i64::from(instance.table_id);
        let is_known = known.iter().any(|version| version.object_id == object_id);
        let begins = if is_known && (source.new_tables.hold || !nothing_read) {
            known_beginning(source, &instance, lsn)?
        } else if source.new_tables.hold || source.new_tables.held.contains(&object_id) {
            let covers = instance::standing(instance.start_lsn, lsn, true) == Standing::Covers;
            if !(source.new_tables.new_log && covers) {
                continue;
            }
            None
        } else {
            name_is_free(&instance, &known)?;
            let after = nothing_read
                || began_after(source, lease, &instance, cursor.fingerprint.as_ref()).await?;
            match instance::standing(instance.start_lsn, lsn, after) {
                Standing::Covers => None,
                Standing::Begins(at) => Some(at),
                Standing::Gap(from, to) => return Err(instance::gap(&instance, from, to)),
                // It will begin after everything seen so far; `inspect` notices when it has.
                Standing::NotReady => {
                    source.accepted.insert(instance.change_table_id, None);
                    continue;
                }
            }
        };
        let one = CapturedTable { begins, ..as_followed? };
        same_as_before(&one, &known)?;
        followed.push(Arc::new(one));
    }
    source.followed.clone_from(&followed);
    held::note(source, &all);
    Ok(followed)
}

/// Where a table's changes begin that the log has, if that is after the cursor.
///
/// # Errors
/// `Halt` for a gap, `Retry` while the capture job has not come to its instance.
fn known_beginning(
    source: &SqlServer,
    instance: &Instance,
    cursor: Lsn,
) -> Result<Option<Lsn>, Failure> {
    // Its load has everything before that.
    let begins = source.new_tables.begins.get(&i64::from(instance.table_id));
    let floor = match begins {
        Some(position) => source.lsn(position)?.previous().max(cursor),
        None => cursor,
    };
    match instance::standing(instance.start_lsn, floor, false) {
        Standing::Covers | Standing::Begins(_) => Ok((floor > cursor).then(|| floor.next())),
        Standing::Gap(from, to) => Err(instance::gap(instance, from, to)),
        Standing::NotReady => Err(Failure::new(
            Code::SourceInstanceNotYet,
            format!("the capture job has not come to instance {}", instance.name),
        )),
    }
}

/// A table that is new to the log must not go by a name that another one has there.
fn name_is_free(instance: &Instance, known: &[TableVersion]) -> Result<(), Failure> {
    let object_id = i64::from(instance.table_id);
    match known.iter().find(|v| v.name == instance.table && v.object_id != object_id) {
        None => Ok(()),
        Some(version) => Err(vanished(
            &version.name,
            "it was renamed, and another table that is captured has its name now",
        )),
    }
}

/// Whether an instance is proved to have begun after the cursor: it was accepted as new; or it was
/// created after the commit at the cursor; or the row that enabling it left in the mapping is
/// there (`sys.sp_cdc_enable_table` adds one with its own time and no transaction).
async fn began_after(
    source: &SqlServer,
    lease: &mut Lease,
    instance: &Instance,
    fingerprint: Option<&CommitFingerprint>,
) -> Result<bool, Failure> {
    let Some(start) = instance.start_lsn else { return Ok(false) };
    match source.accepted.get(&instance.change_table_id) {
        Some(None) => return Ok(true),
        Some(Some(accepted)) if *accepted == start => return Ok(true),
        _ => {}
    }
    let created = time::datetime_text(instance.created);
    if fingerprint.is_some_and(|fingerprint| fingerprint.source_time.raw < created) {
        return Ok(true);
    }
    let row = commit_at(lease, start).await?;
    Ok(row.is_some_and(|row| row.is_dummy() && row.end_time == instance.created))
}

/// Every table of the log that is still wanted has an instance, and is the same table, whatever it is
/// called by now.
fn nothing_vanished(
    source: &SqlServer,
    instances: &[Instance],
    known: &[TableVersion],
) -> Result<(), Failure> {
    for version in known {
        if !source.tables.is_empty() && !is_wanted(source, version, instances) {
            continue;
        }
        if instances.iter().any(|i| i64::from(i.table_id) == version.object_id) {
            continue;
        }
        let what = if instances.iter().any(|i| i.table == version.name) {
            "it was dropped and created anew".to_owned()
        } else {
            let what = "its capture instance was dropped, or the login may no longer read it";
            match source.forbidden.iter().find(|f| i64::from(f.table_id) == version.object_id) {
                Some(forbidden) => format!("the login may not read it: {}", forbidden.fix()),
                None => what.to_owned(),
            }
        };
        return Err(vanished(&version.name, &what));
    }
    Ok(())
}

/// Whether `source.tables` asks for a table that the log has: by its name, in whatever case.
fn is_wanted(source: &SqlServer, version: &TableVersion, instances: &[Instance]) -> bool {
    let name = version.name.to_string().to_lowercase();
    source.tables.iter().any(|wanted| wanted.to_lowercase() == name)
        || instances.iter().any(|i| i64::from(i.table_id) == version.object_id)
}

fn vanished(table: &TableName, what: &str) -> Failure {
    Failure::new(Code::SourceInstance, format!("table {table} can no longer be followed: {what}")).remedy("changes made meanwhile may be lost: GRANT SELECT again if only the right is missing; else \
         begin a new pipeline (new log) and load the target anew")
}

/// The log's version of the table is the one that is read now.
fn same_as_before(followed: &CapturedTable, known: &[TableVersion]) -> Result<(), Failure> {
    let table = &followed.table;
    let mut before = known.iter().filter(|v| v.object_id == table.version.object_id).peekable();
    if before.peek().is_none() || before.any(|version| version.id() == table.id) {
        return Ok(());
    }
    Err(Failure::new(
        Code::SourceShape,
        format!("table {} no longer has the shape that the log has of it", table.version.name),
    )
    .remedy(
        "a change of a captured table's shape is not followed yet: begin a new pipeline (new log) \
         with the new shape",
    ))
}

/// Looks whether what was settled on still holds; gives notices for the operator.
pub async fn inspect(
    source: &mut SqlServer,
    lease: &mut Lease,
    cursor: Lsn,
) -> Result<Vec<String>, Failure> {
    let identity = catalog::identity(lease).await?;
    if !identity.cdc_enabled {
        return Err(catalog::cdc_off(&identity));
    }
    // Sessions may outlive a restore.
    if let Some(fingerprint) = source.fingerprint_at(cursor) {
        let evidence = identity::evidence(lease, cursor).await?;
        identity::examine(cursor, Some(fingerprint), &evidence)?;
    }
    let now = select::wanted(source, lease).await?;
    for followed in &source.followed {
        still_there(followed, &now, cursor)?;
    }
    renamed(source, &now)?;
    no_newcomer(source, lease, now, Lsn::MAX).await?;
    let instances = source.instances();
    let shapes = catalog::shapes(lease, source.timeline, &instances).await?;
    let seen = catalog::ddl(lease, source.accesses.ddl, &instances, cursor).await?;
    source.ddl = ddl::that_matter(source, lease, seen).await?.into_iter().next();
    if source.ddl.is_none() {
        // With DDL in sight the shape differs for a known reason: windows stop there by themselves.
        for (followed, shape) in source.followed.iter().zip(&shapes) {
            followed.check_shape(shape)?;
        }
    }
    see_other_columns(source, shapes);
    notices(source, lease).await
}

/// Takes the names that followed tables have now: loads read the tables themselves.
fn renamed(source: &mut SqlServer, now: &[Instance]) -> Result<(), Failure> {
    let mut any = false;
    for followed in &mut source.followed {
        let Some(same) = now.iter().find(|other| followed.instance.is(other)) else { continue };
        if same.table != followed.instance.table {
            tracing::warn!(
                table = %followed.table.version.name,
                name = %same.table,
                "the table was renamed; it is followed under the name that the log has"
            );
            Arc::make_mut(followed).instance.table.clone_from(&same.table);
            any = true;
        }
    }
    if any {
        source.loads.resumed(source.timeline, &source.followed, source.secures)
    } else {
        Ok(())
    }
}

/// Takes columns that are not replicated as they are now.
fn see_other_columns(source: &mut SqlServer, shapes: Vec<catalog::TableShape>) {
    for (followed, shape) in source.followed.iter_mut().zip(shapes) {
        if shape != followed.shape && followed.check_shape(&shape).is_ok() {
            Arc::make_mut(followed).shape = shape;
        }
    }
}

/// Looks for a table whose instance begins at or before `through` and that is not followed yet. Where
/// such tables are not held, a new start follows it, with everything after the cursor.
///
/// # Errors
/// `Retry` when there is one.
pub async fn nothing_new(
    source: &mut SqlServer,
    lease: &mut Lease,
    through: Lsn,
) -> Result<(), Failure> {
    let now = select::wanted(source, lease).await?;
    let seen = |i: &Instance| {
        let id = i.table_id;
        source.followed.iter().any(|followed| followed.instance.table_id == id)
            || source.held.iter().any(|held| held.table_id == id)
            || source.forbidden.iter().any(|forbidden| forbidden.table_id == id)
    };
    if now.iter().all(seen) {
        return Ok(());
    }
    no_newcomer(source, lease, now, through).await
}

async fn no_newcomer(
    source: &mut SqlServer,
    lease: &mut Lease,
    now: Vec<Instance>,
    through: Lsn,
) -> Result<(), Failure> {
    // What is followed has been read: a right that is taken away shows there.
    let (now, forbidden) = forbidden::readable(source, lease, now).await?;
    source.forbidden = forbidden;
    held::note(source, &now);
    let followed = |i: &Instance| source.followed.iter().any(|f| f.instance.table_id == i.table_id);
    let waits = |i: &Instance| source.held.iter().any(|held| held.table_id == i.table_id);
    let new = |i: &&Instance| {
        i.start_lsn.is_some_and(|start| start <= through) && !followed(i) && !waits(i)
    };
    match now.iter().find(new) {
        None => Ok(()),
        Some(instance) => Err(Failure::new(
            Code::SourceNewInstance,
            format!("table {} has a capture instance now", instance.table),
        )),
    }
}

fn still_there(followed: &CapturedTable, now: &[Instance], cursor: Lsn) -> Result<(), Failure> {
    let instance = &followed.instance;
    match now.iter().find(|other| instance.is(other)) {
        Some(same) => {
            let floor = followed.begins.map_or(cursor, |begins| begins.previous().max(cursor));
            match instance::standing(same.start_lsn, floor, false) {
                Standing::Gap(from, to) => Err(instance::gap(instance, from, to)),
                _ => Ok(()),
            }
        }
        // Another instance of the table may have everything: a new start decides.
        None if now.iter().any(|i| {
            i.table_id == instance.table_id && i.start_lsn.is_some_and(|at| at <= cursor.next())
        }) =>
        {
            Err(Failure::new(
                Code::SourceInstanceNotYet,
                format!("instance {} of {} is gone", instance.name, instance.table),
            ))
        }
        None => Err(vanished(
            &instance.table,
            &format!("its capture instance {} was dropped, re-created or forbidden", instance.name),
        )),
    }
}

/// Whether the source still captures, and what else is worth knowing (docs/reader-rules.md, rule 10).
async fn notices(source: &SqlServer, lease: &mut Lease) -> Result<Vec<String>, Failure> {
    let mut notices: Vec<String> = source.forbidden.iter().map(ToString::to_string).collect();
    notices.extend(source.passed.notices());
    notices.extend(ddl::pending_columns(source, lease).await?);
    for followed in &source.followed {
        let (now, log) = (&followed.instance.table, &followed.table.version.name);
        if now != log {
            notices.push(format!("table {log} was renamed to {now}; it is followed as {log}"));
        }
    }
    let (rows, (clock, offset)) = newest(lease).await?;
    let age =
        rows.first().map(|row| (clock - time::to_utc(row.end_time, offset)) / TICKS_PER_SECOND);
    match age {
        None => notices.push("the capture job has not run yet: cdc.lsn_time_mapping is empty".to_owned()),
        Some(age) if age > STALLED_SECONDS => notices.push(format!(
            "the capture job seems to stand still: the newest row of cdc.lsn_time_mapping is {age} s \
             old; check SQL Server Agent and the job cdc.{}_capture",
            source.database
        )),
        Some(_) => {}
    }
    notices.extend(source.loads.sight.notices());
    for followed in &source.followed {
        if !followed.shape.change_table.iter().any(|c| c.name == "__$command_id") {
            notices.push(format!(
                "the change table of {} has no __$command_id (a build before KB3030352): changes of \
                 one transaction are ordered by __$seqval",
                followed.instance.table
            ));
        }
    }
    Ok(notices)
}
