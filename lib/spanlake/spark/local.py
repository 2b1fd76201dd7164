"""Make the environment's own `spark-submit` work as it is: `python -m spanlake.spark.local`.

pip installs Spark without a configuration, and a `spark-submit` that is called by its path uses
the system's python3. This writes the files that mend that, inside the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyspark

from spanlake.spark.session import DELTA, delta_package

# Spark's own default logs every step at INFO under spark-submit.
LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex{short}
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
"""


def write_defaults() -> Path:
    """Write Spark's defaults, its logging and `find-spark-home`; return their folder."""
    home = Path(pyspark.__file__).parent
    settings = {
        "spark.jars.packages": delta_package(),
        **DELTA,
        "spark.pyspark.python": sys.executable,
        "spark.driver.memory": "4g",
        # Half the processor time of a short job is the JVM's second compiler; the models run in
        # Python, so a long job on one machine does not miss it.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
    }
    conf = home / "conf"
    conf.mkdir(exist_ok=True)
    lines = (f"{key} {value}\n" for key, value in settings.items())
    (conf / "spark-defaults.conf").write_text("".join(lines))
    (conf / "log4j2.properties").write_text(LOGGING)
    finder = Path(sys.executable).parent / "find-spark-home"
    finder.write_text(f'#!/usr/bin/env bash\nexport SPARK_HOME="{home}"\n')
    return conf


if __name__ == "__main__":
    sys.stdout.write(f"Spark's configuration: {write_defaults()}\n")
