"""``millrace``: finds the command, and turns what a room refuses into one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from model_store.errors import ModelStoreError, ParityError, UngatedError
from predictor.errors import PredictorError, StartupError
from rollout.errors import RolloutError

OK, ANSWER_IS_NO, CANNOT = 0, 1, 2

# A command's module is imported when it is called: `millrace --help` needs none of them.
COMMANDS = {
    "package": "turn a classifier and its labels into a model package",
    "models": "packages of a store, and versions in a registry: list, register, promote, …",
    "serve": "serve a package over HTTP and gRPC",
    "classify": "classify image files here, without a server",
    "analyze": "measure models on datasets: accuracy, speed, agreement; a report and a gate",
    "pipeline": "from a network to all of the traffic by one run, here or on Kubeflow",
    "top": "watch a pod: its stages, the one that limits it, its instances",
    "load": "send a pod load and measure it: closed and open loop, sweeps, peak under an SLO",
    "study": "how far it scales: real pods, and simulated ones beyond what a machine can hold",
    "rollout": "give a version the requests step by step as it proves itself, or take it back",
    "manifests": "write a kustomize overlay for a model, sized from measured figures",
    "settings": "print every setting with its default, bounds and meaning",
}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"millrace.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millrace")
def commands() -> None:
    """Serve image classifiers on KServe and keep the accelerator fed.

    Exit codes: 0 done, 1 the answer is no (a check failed), 2 wrong usage or environment.
    """


def main() -> None:
    """Entry of the ``millrace`` command."""
    try:
        code = commands.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (ParityError, UngatedError) as error:
        code = _refuse(error, ANSWER_IS_NO)
    except (ModelStoreError, StartupError, PredictorError, RolloutError) as error:
        code = _refuse(error, CANNOT)
    # 1 is an answer, which what nobody thought of must never pass for.
    except Exception as error:
        logging.getLogger(__name__).exception("unexpected")
        code = _refuse(f"unexpected {type(error).__name__}: {error}; please report it", CANNOT)
    sys.exit(code if isinstance(code, int) else OK)


def _refuse(error: Exception | str, code: int) -> int:
    click.echo(f"millrace: {error}", err=True)
    return code
