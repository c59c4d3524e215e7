#!/usr/bin/env bash
# Spark with the shipped configuration and the cluster's secret, in one of these roles; more words are passed on:
#   spark.sh master|worker …      of a standalone cluster; STRATA_SPARK_SECRET has the secret
#   spark.sh driver|executor …    of Kubernetes, which starts them so, and makes a secret for each application itself
#   spark.sh COMMAND …            any other command, such as spark-submit to a standalone cluster
# The secret gets into a file that only this user can read, and so into no process's arguments.
set -euo pipefail
SPARK_HOME=$(find_spark_home.py)
export SPARK_HOME

# Kubernetes says by variables what a driver or executor is to be told; spark-env.sh finds Java.
on_kubernetes() {
    local role=$1
    shift
    set -a
    # shellcheck source=/dev/null
    . "$SPARK_HOME/conf/spark-env.sh"
    set +a
    if [ "$role" = driver ]; then
        exec spark-submit --deploy-mode client \
            --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
            --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" "$@"
    fi
    local options=() name
    for name in $(compgen -v SPARK_JAVA_OPT_ | sort -V); do
        options+=("${!name}")
    done
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" ${options[@]+"${options[@]}"} \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$SPARK_HOME/jars/*" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
}

# A folder of configuration that has the secret, for this process and those that it starts.
configure() {
    local secret=${STRATA_SPARK_SECRET:-} problem=
    unset STRATA_SPARK_SECRET
    [[ $secret =~ ^[0-9A-Za-z]*$ ]] || problem="has more than letters and digits in it"
    [ ${#secret} -ge 32 ] || problem="is shorter than 32 characters"
    [ -n "$secret" ] || problem="is not set"
    if [ -n "$problem" ]; then
        echo "spark.sh: STRATA_SPARK_SECRET, which all machines of the cluster share, $problem: openssl rand -hex 32 makes one" >&2
        exit 2
    fi
    SPARK_CONF_DIR=$(mktemp -d)
    export SPARK_CONF_DIR
    cp "$SPARK_HOME/conf/"* "$SPARK_CONF_DIR"
    install -m 600 "$(dirname "$0")/spark-defaults.conf" "$SPARK_CONF_DIR"
    echo "spark.authenticate.secret $secret" >>"$SPARK_CONF_DIR/spark-defaults.conf"
}

case ${1:-} in
driver | executor) on_kubernetes "$@" ;;
esac
configure
case ${1:-} in
master) exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master "${@:2}" ;;
worker) exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker "${@:2}" ;;
*) exec "$@" ;;
esac
