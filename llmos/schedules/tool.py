"""The call that schedules a task for later.

Covered: a process that has read text from outside can only schedule what its user said in the same
words; a scheduled task runs with nobody to say yes, so that what needs a yes is denied.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime

from tzlocal import get_localzone

from llmos.schedules.store import ScheduleStore
from llmos.sdk import CallContext, Effect, Label, Output, RetryCall, ToolFailed, tool
from llmos_kernel.errors import ConfigError

REFUSED = (
    "this process has read text from outside, and the user did not say {task!r} in these words; "
    "the user can schedule it: llmos schedule add {task!r} --when {when!r}"
)


@tool(effects={Effect.MEMORY}, max_concurrent=None)
def schedule(task: str, when: str, context: CallContext) -> Output:
    """Run a task later or again and again.

    Args:
        task: the task
        when: the time
    """
    if context.label_of(task) is Label.UNTRUSTED:
        raise ToolFailed(REFUSED.format(task=task, when=when))
    zone = get_localzone()
    try:
        with closing(ScheduleStore(context.home)) as store:
            made = store.add(task, when, datetime.fromtimestamp(context.asked_at, zone))
    except ConfigError as error:
        raise RetryCall(str(error)) from error
    due = datetime.fromtimestamp(made.due or 0.0, zone)
    return Output(f"schedule {made.id}: first on {due:%A %Y-%m-%d at %H:%M}", label=Label.TRUSTED)
