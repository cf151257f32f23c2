"""Prints, for each name of an experiment that it reads, the experiment's runs and
all models, read with MLflow's own client."""
import json
import math
import sys

import mlflow

client = mlflow.MlflowClient()


def number(value):
    return value if math.isfinite(value) else str(value)


def artifacts(run_id, path=None):
    files = {}
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            files.update(artifacts(run_id, entry.path))
        else:
            with open(client.download_artifacts(run_id, entry.path), "rb") as f:
                files[entry.path] = f.read(20_000).decode("utf-8", "replace")
    return files


def contents(name):
    runs = []
    if experiment := client.get_experiment_by_name(name):
        for run in client.search_runs([experiment.experiment_id]):
            runs.append(
                {
                    "id": run.info.run_id,
                    "name": run.info.run_name,
                    "status": run.info.status,
                    "start_time": run.info.start_time,
                    "end_time": run.info.end_time or 0,
                    "params": run.data.params,
                    "tags": run.data.tags,
                    "metrics": {
                        key: sorted([m.step, number(m.value), m.timestamp] for m in client.get_metric_history(run.info.run_id, key))
                        for key in run.data.metrics
                    },
                    "artifacts": artifacts(run.info.run_id),
                }
            )

    models = {}
    for model in client.search_registered_models():
        models[model.name] = [
            {
                "version": version.version,
                "run_id": version.run_id,
                "source": version.source,
                "description": version.description or "",
                "tags": version.tags,
                "aliases": sorted(alias for alias, number in model.aliases.items() if int(number) == int(version.version)),
            }
            for version in sorted(client.search_model_versions(f"name='{model.name}'"), key=lambda v: int(v.version))
        ]

    return {"runs": runs, "models": models}


for line in sys.stdin:
    print(json.dumps(contents(line.strip())), flush=True)
