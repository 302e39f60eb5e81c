//! The tasks that the client has heard of.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use tokio::time::Instant;

/// How many tasks to remember. Beyond that finmcp forgets the oldest; its last line then lacks the call's details.
const TASKS_LIMIT: usize = 4096;

/// The tasks that the client has heard of, by the digests of their ids.
#[derive(Default)]
pub struct Tasks {
    known: HashMap<String, KnownTask>,
    order: VecDeque<String>,
}

#[derive(Default)]
pub struct KnownTask {
    /// The call that created it, if that happened in this conversation.
    pub call: Option<TaskCall>,
    pub end: Option<String>,
}

/// The details of a call that created a task, for the task's last line.
pub struct TaskCall {
    pub tool: Cow<'static, str>,
    pub digest: Cow<'static, str>,
    pub begun: Instant,
}

impl Tasks {
    /// What is known of the task, if the client has heard of it.
    pub fn get(&self, task: &str) -> Option<&KnownTask> {
        self.known.get(task)
    }

    /// What is known of the task, which is remembered from now on.
    pub fn known(&mut self, task: &str) -> &mut KnownTask {
        if !self.known.contains_key(task) {
            if self.order.len() == TASKS_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(task.to_owned());
        }
        self.known.entry(task.to_owned()).or_default()
    }
}
