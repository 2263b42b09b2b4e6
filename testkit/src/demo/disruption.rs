//! What goes wrong during the demo, and when.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use lockstep_servers::Stop;

use super::options::Options;
use super::servers::Servers;
use super::services::Services;
use super::view::View;

#[derive(Clone, Copy, Debug)]
enum Disruption {
    StopPostgres,
    StartPostgres,
    KillService(usize),
}

/// Disruptions still to come, and those done.
#[derive(Debug)]
pub(super) struct Disruptions {
    coming: VecDeque<(Duration, Disruption)>,
    done: Vec<String>,
}

impl Disruptions {
    /// PostgreSQL goes down in the middle, each process of the pipeline dies once: the first before
    /// that, a second after it.
    pub(super) fn plan(options: &Options, servers: &Servers, services: &Services) -> Self {
        let at = |eighths: u32| options.duration() * eighths / 8;
        let mut coming = Vec::new();
        if servers.postgres.is_some() {
            coming.push((at(3), Disruption::StopPostgres));
            coming.push((at(3) + options.outage(), Disruption::StartPostgres));
        }
        for (index, eighths) in (0..services.count()).zip([2, 6]) {
            coming.push((at(eighths), Disruption::KillService(index)));
        }
        coming.sort_by_key(|(at, _)| *at);
        Disruptions { coming: coming.into(), done: Vec::new() }
    }

    /// Does what is due.
    pub(super) fn due(
        &mut self,
        elapsed: Duration,
        view: &View,
        servers: &mut Servers,
        services: &mut Services,
    ) -> Result<()> {
        while let Some((at, disruption)) = self.coming.front().copied() {
            if at > elapsed {
                break;
            }
            self.coming.pop_front();
            let done = disruption.happen(servers, services)?;
            view.event(&done);
            self.done.push(done);
        }
        Ok(())
    }

    /// Does what is left, so that nothing stays broken, and says what was done.
    pub(super) fn end(
        mut self,
        view: &View,
        servers: &mut Servers,
        services: &mut Services,
    ) -> Result<Vec<String>> {
        self.due(Duration::MAX, view, servers, services)?;
        Ok(self.done)
    }
}

impl Disruption {
    fn happen(self, servers: &mut Servers, services: &mut Services) -> Result<String> {
        match (self, &mut servers.postgres) {
            (Disruption::StopPostgres, Some(postgres)) => {
                postgres.stop(Stop::Immediate)?;
                Ok("PostgreSQL stopped in the middle of its work (immediate shutdown)".to_owned())
            }
            (Disruption::StartPostgres, Some(postgres)) => {
                postgres.start_again()?;
                Ok("PostgreSQL started again".to_owned())
            }
            (Disruption::KillService(index), _) => services.kill_and_restart(index),
            (Disruption::StopPostgres | Disruption::StartPostgres, None) => {
                unreachable!("only a private PostgreSQL is planned to go down")
            }
        }
    }
}
