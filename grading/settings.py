"""The settings of `make grade`, in nbgrader_config.py or on its command line, where `--help-all` lists them."""

from dask.system import CPU_COUNT
from traitlets import Bool, Float, Integer, List, Unicode
from traitlets.config import Configurable

from grading.kernels.limits import Limits


class ClassGrading(Configurable):
    """How a class is graded."""

    students = List(Unicode(), help="The students to grade; by default all").tag(config=True)
    force = Bool(False, help="Whether to grade again submissions that are graded already").tag(config=True)
    workers = Integer(
        CPU_COUNT,
        min=1,
        help="How many submissions this machine grades at a time, by default one per core that may be used; unused "
        "with a scheduler",
    ).tag(config=True)
    scheduler = Unicode(
        "", help="The address of a running dask scheduler, such as tcp://host:8786, whose workers grade"
    ).tag(config=True)
    sandboxed = Bool(True, help="Whether students' code is sandboxed, or runs with your own permissions").tag(
        config=True
    )
    prepare = Unicode(
        "", help="A module that is run as a program once before the class is graded; by default none"
    ).tag(config=True)
    preload = Unicode(
        "",
        help="A module that is imported, and whose function warm_up is called if it has one, before kernels are forked "
        "for a submission; by default none",
    ).tag(config=True)
    pass_prints = Unicode("", help="What every check prints when it passes; full points without it are remarked").tag(
        config=True
    )
    file_megabytes = Float(100, min=0, help="The size up to which a file of a submission is read").tag(config=True)
    submission_megabytes = Float(200, min=0, help="The size up to which a submission is read").tag(config=True)
    notebook_seconds = Integer(
        None, allow_none=True, min=1, help="The time limit of a notebook; by default five times that of a cell"
    ).tag(config=True)
    memory_gigabytes = Float(4, min=0, help="What all processes of a notebook may use together").tag(config=True)
    processes = Integer(64, min=1, help="How many processes a notebook may have").tag(config=True)
    threads = Integer(512, min=1, help="How many threads a notebook may have").tag(config=True)

    def limits(self) -> Limits:
        """Return what one notebook may use."""
        return Limits(
            seconds=self.notebook_seconds or 5 * self.config.Execute.get("timeout", 30),
            memory=int(self.memory_gigabytes * 2**30),
            processes=self.processes,
            threads=self.threads,
        )
