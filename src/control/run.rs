//! The control thread's life: bind, serve commands in turn, end with the process.
//!
//! Every event becomes a `Command` in one queue: HTTP requests, signals, the sampler's tick, a
//! change of phase. The loop takes one at a time and is the only one that touches the node, the
//! prober and the logs, so none of them needs a lock.

use std::{io, net::SocketAddr, net::TcpListener, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{AbortHandle, LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    base::access::AccessSink,
    config::{AdminConfig, LogConfig},
    control::{
        access_log::{AccessLogWriter, OpenAccessLog},
        admin::{
            Api, COMMANDS_MAX, CONNECTIONS_MAX, Command, Signal, admin_router, dashboard_router,
            socket::{AdminSocket, BindError, bind_dashboard, run_dashboard},
        },
        error_log::ErrorLogHandle,
        health_probe::Prober,
        metrics::Exposition,
        node::{Node, Phase, ReloadError, Reloaded, Stop},
        sampler::{SAMPLE_INTERVAL, Sampler},
        status::Status,
        view::View,
    },
};

/// How long exchanges may take to end after a first interrupt (Ctrl-C): a person is waiting.
pub const INTERRUPT_DRAIN: Duration = Duration::from_secs(5);

/// How long the answer to a last request may take to leave after the process has stopped.
const FAREWELL: Duration = Duration::from_millis(250);

/// Why there's no control thread.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// An address can't be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log can't be opened.
    #[error("access log {0}")]
    AccessLog(#[source] io::Error),
    /// The system refused what the thread needs: descriptors, mostly.
    #[error("control thread: {0}")]
    System(#[source] io::Error),
}

/// A control thread that is bound and not yet running.
#[derive(Debug)]
pub struct Control {
    admin: Option<AdminSocket>,
    dashboard: Option<TcpListener>,
    admin_config: AdminConfig,
    access_log: OpenAccessLog,
    error_log: Option<ErrorLogHandle>,
}

impl Control {
    /// Takes the admin socket, the dashboard's address and the access log, before anything else
    /// starts: what can't be had ends the start. Starts no thread, so that the process can give up
    /// its privileges after it. Also gives one access-log sink per shard.
    ///
    /// # Errors
    /// [`ControlError`], naming the address or file.
    pub fn bind(
        admin: &AdminConfig,
        log: &LogConfig,
        shards: usize,
        error_log: Option<ErrorLogHandle>,
    ) -> Result<(Self, Vec<AccessSink>), ControlError> {
        let socket = admin.listen.as_deref().map(AdminSocket::bind).transpose()?;
        let dashboard = admin.dashboard.map(bind_dashboard).transpose()?;
        let path = log.access.as_ref().map(|access| &access.path);
        let (access_log, sinks) =
            OpenAccessLog::open(path, shards).map_err(ControlError::AccessLog)?;
        let admin_config = admin.clone();
        Ok((Self { admin: socket, dashboard, admin_config, access_log, error_log }, sinks))
    }

    /// Where the dashboard listens; a configured port 0 shows the port that the kernel gave.
    pub fn dashboard_address(&self) -> Option<SocketAddr> {
        self.dashboard.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Runs on this thread until the node has stopped. The access log is written to its end.
    ///
    /// # Errors
    /// When signals can't be watched, or no thread can be had for the access log.
    pub fn run(self, node: Box<dyn Node>) -> Result<(), ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ControlError::System)?;
        LocalSet::new().block_on(&runtime, async {
            let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
            watch_signals(&commands).map_err(ControlError::System)?;
            let mut core = Core::new(self, node, commands).map_err(ControlError::AccessLog)?;
            core.run(inbox).await;
            Ok(())
        })
    }
}

/// What the loop owns.
struct Core {
    node: Box<dyn Node>,
    sampler: Sampler,
    prober: Prober,
    doors: Doors,
    access_log: AccessLogWriter,
    error_log: Option<ErrorLogHandle>,
    is_interrupted: bool,
}

impl Core {
    fn new(
        control: Control,
        node: Box<dyn Node>,
        commands: mpsc::Sender<Command>,
    ) -> io::Result<Self> {
        let access_log = control.access_log.start()?;
        let phase = node.phase();
        spawn_local(tick(commands.clone()));
        spawn_local(follow(phase.clone(), commands.clone()));
        let mut prober = Prober::default();
        prober.apply(node.probes());
        let mut doors = Doors::new(Api { commands, phase }, control.admin_config);
        if let Some(socket) = control.admin {
            doors.open_admin(socket);
        }
        if let Some(listener) = control.dashboard {
            doors.open_dashboard(listener);
        }
        Ok(Self {
            node,
            sampler: Sampler::new(Instant::now()),
            prober,
            doors,
            access_log,
            error_log: control.error_log,
            is_interrupted: false,
        })
    }

    async fn run(&mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            if let Command::Phase(Phase::Stopped) = command {
                break;
            }
            self.obey(command);
        }
        self.doors.close().await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Status(reply) => answer(reply, self.status()),
            Command::Metrics(format, reply) => answer(reply, self.exposition().render(format)),
            Command::Reload(reply) => answer(reply, self.reload("the admin API")),
            Command::Stop(how, reply) => {
                // Answered first: a stop may end the process before the loop turns again.
                answer(reply, ());
                self.stop(how, "the admin API");
            }
            Command::ReopenLogs(reply) => answer(reply, self.reopen_logs()),
            Command::Signal(signal) => self.on_signal(signal),
            Command::Sample => {
                self.sampler.sample(Instant::now(), &self.view());
                self.node.look_at_files();
                // New files may have made new endpoints.
                self.prober.apply(self.node.probes());
            }
            Command::Phase(phase) => tracing::info!(phase = phase.name(), "ringway"),
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            // The outcome is in the log.
            Signal::Reload => drop(self.reload("SIGHUP")),
            Signal::Drain => self.stop(Stop::Drain(None), "SIGTERM"),
            Signal::Interrupt if self.is_interrupted => self.stop(Stop::Now, "a second SIGINT"),
            Signal::Interrupt => {
                self.is_interrupted = true;
                self.stop(Stop::Drain(Some(INTERRUPT_DRAIN)), "SIGINT");
            }
            Signal::ReopenLogs => drop(self.reopen_logs()),
        }
    }

    fn stop(&mut self, how: Stop, by: &str) {
        match how {
            Stop::Drain(Some(limit)) => tracing::info!(by, ?limit, "draining"),
            Stop::Drain(None) => tracing::info!(by, "draining"),
            Stop::Now => tracing::info!(by, "stopping at once"),
        }
        self.node.stop(how);
    }

    fn reload(&mut self, by: &str) -> Result<Reloaded, ReloadError> {
        match self.node.reload() {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                for change in &reloaded.changes {
                    tracing::info!("{change}");
                }
                self.apply_logs(&reloaded.log);
                self.doors.apply(&reloaded.admin);
                self.prober.apply(self.node.probes());
                tracing::info!(by, generation = reloaded.generation, "configuration applied");
                Ok(reloaded)
            }
            Err(error) => {
                for problem in &error.problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(by, "configuration not applied, the old one goes on");
                Err(error)
            }
        }
    }

    /// A log that can't be opened is no reason to undo a reload: the old file stays in use.
    fn apply_logs(&mut self, log: &LogConfig) {
        let path = log.access.as_ref().map(|access| &access.path);
        if path != self.access_log.path()
            && let Err(error) = self.access_log.set_path(path)
        {
            tracing::error!("access log {error}; the old one stays in use");
        }
        if let Some(handle) = &mut self.error_log
            && let Err(error) = handle.apply(&log.error)
        {
            tracing::error!("error log {error}; the old one stays in use");
        }
    }

    fn reopen_logs(&mut self) -> Result<(), String> {
        let access = self.access_log.reopen().map_err(|error| format!("access log {error}"));
        let error = match &self.error_log {
            Some(handle) => handle.reopen().map_err(|error| format!("error log {error}")),
            None => Ok(()),
        };
        let result = access.and(error);
        match &result {
            Ok(()) => tracing::info!("logs reopened"),
            Err(error) => tracing::error!("{error}; the old file stays in use"),
        }
        result
    }

    fn view(&self) -> View {
        let mut view = self.node.view();
        self.prober.describe(&mut view.upstreams);
        view
    }

    fn status(&self) -> Status {
        let view = self.view();
        let window = self.sampler.window(Instant::now(), &view);
        let phase = *self.node.phase().borrow();
        #[expect(clippy::disallowed_methods, reason = "the uptime, on the control thread")]
        let now = std::time::SystemTime::now();
        Status::new(now, &view, &window, phase, &self.access_log.view())
    }

    fn exposition(&self) -> Exposition {
        let view = self.view();
        let loads = self.sampler.window(Instant::now(), &view).loads;
        let phase = *self.node.phase().borrow();
        Exposition { view, phase, access: self.access_log.view(), loads }
    }
}

/// Answers who asked over HTTP; if that one has gone, nobody.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _unheard: Result<(), T> = reply.send(answer);
}

/// The places where the API is served, replaced when `[admin]` changes.
struct Doors {
    api: Api,
    config: AdminConfig,
    admin: Option<AbortHandle>,
    dashboard: Option<AbortHandle>,
    /// Of the admin socket's connections.
    permits: Arc<Semaphore>,
}

impl Doors {
    fn new(api: Api, config: AdminConfig) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
        Self { api, config, admin: None, dashboard: None, permits }
    }

    fn open_admin(&mut self, socket: AdminSocket) {
        let router = admin_router(self.api.clone());
        let work = socket.run(router, Arc::clone(&self.permits));
        self.admin = Some(spawn_local(work).abort_handle());
    }

    fn open_dashboard(&mut self, listener: TcpListener) {
        let router = dashboard_router(self.api.clone());
        self.dashboard = Some(spawn_local(run_dashboard(listener, router)).abort_handle());
    }

    /// Moves to the addresses of a new config. An address that can't be had leaves the old one.
    fn apply(&mut self, config: &AdminConfig) {
        if config.listen != self.config.listen {
            match config.listen.as_deref().map(AdminSocket::bind).transpose() {
                Ok(socket) => {
                    abort(self.admin.take());
                    self.config.listen = config.listen.clone();
                    if let Some(socket) = socket {
                        self.open_admin(socket);
                    }
                }
                Err(error) => tracing::error!("{error}; the old one stays in use"),
            }
        }
        if config.dashboard != self.config.dashboard {
            match config.dashboard.map(bind_dashboard).transpose() {
                Ok(listener) => {
                    abort(self.dashboard.take());
                    self.config.dashboard = config.dashboard;
                    if let Some(listener) = listener {
                        self.open_dashboard(listener);
                    }
                }
                Err(error) => tracing::error!("{error}; the old one stays in use"),
            }
        }
    }

    /// Accepts no more, and lets the answers that are on their way leave.
    async fn close(&mut self) {
        abort(self.admin.take());
        abort(self.dashboard.take());
        let everybody_left = self.permits.acquire_many(CONNECTIONS_MAX);
        let _in_time: Result<_, _> = timeout(FAREWELL, everybody_left).await;
    }
}

fn abort(task: Option<AbortHandle>) {
    if let Some(task) = task {
        task.abort();
    }
}

/// Makes signals commands.
fn watch_signals(commands: &mpsc::Sender<Command>) -> io::Result<()> {
    for (kind, meaning) in [
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::terminate(), Signal::Drain),
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::user_defined1(), Signal::ReopenLogs),
    ] {
        let mut signals = signal(kind)?;
        let commands = commands.clone();
        spawn_local(async move {
            while signals.recv().await.is_some() {
                if commands.send(Command::Signal(meaning)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

async fn tick(commands: mpsc::Sender<Command>) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if commands.send(Command::Sample).await.is_err() {
            return;
        }
    }
}

/// Makes changes of phase commands; a node that is gone has stopped.
async fn follow(mut phase: watch::Receiver<Phase>, commands: mpsc::Sender<Command>) {
    loop {
        let now = *phase.borrow_and_update();
        if commands.send(Command::Phase(now)).await.is_err() || now == Phase::Stopped {
            return;
        }
        if phase.changed().await.is_err() {
            let _loop_is_gone: Result<_, _> = commands.send(Command::Phase(Phase::Stopped)).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
