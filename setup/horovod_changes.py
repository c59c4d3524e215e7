"""What is changed in Horovod 0.28.1's source before it is compiled; read by build_horovod.py.

`CHANGES` has the file, a text that it must hold once, and what stands there instead.
"""

# Horovod 0.28.1 compiles as C++14, but the headers of torch have needed C++17 since 2.1.
CXX14, CXX17 = "set(CMAKE_CXX_STANDARD 14)", "set(CMAKE_CXX_STANDARD 17)"
# Torch, and so Horovod, takes any /usr/local/cuda for a toolkit, even that of a runtime image, which has no compiler.
TORCH_FINDS_CUDA, WE_FOUND_CUDA = "(CUDA_HOME is not None)", "('HOROVOD_GPU_OPERATIONS' in __import__('os').environ)"
# While it waits for a result it would ask without a pause, on a core that the exchange needs, and its exchanges would
# begin at fixed times, whether anybody waits or not.
FIXED, ENDED_EARLY = "std::this_thread::sleep_for(sleep_duration)", "pauses.BetweenLooks(sleep_duration)"
BUSY = """while (true) {
    if (handle_manager.PollHandle(handle)) break;
    {
      py::gil_scoped_release release_python_gil;
      std::this_thread::yield();
    }
  }
"""
PAUSING = """{
    py::gil_scoped_release release_python_gil;
    pauses.Until([handle] { return handle_manager.PollHandle(handle); });
  }
"""
INCLUDED = '#include "message.h"', '#include "message.h"\n#include "horovod_pause.h"'
INCLUDED_IN_TORCH = '#include "ready_event.h"', '#include "ready_event.h"\n#include "../common/horovod_pause.h"'
INCLUDED_AT_HANDLES = '#include "handle_manager.h"', '#include "handle_manager.h"\n#include "../common/horovod_pause.h"'
DONE = """  std::lock_guard<std::mutex> guard(mutex_);
  results_[handle] = std::make_shared<Status>(status);
"""
DONE_AND_TOLD = """  {
    std::lock_guard<std::mutex> guard(mutex_);
    results_[handle] = std::make_shared<Status>(status);
  }
  pauses.Arrived();
"""
# What all workers have ready it would ask along a ring, in a thousand rounds for 512 workers, at every look.
INCLUDED_AT_GLOO = '#include "gloo_context.h"', '#include "gloo_context.h"\n#include "../horovod_agreement.h"'
RING = """  gloo::AllreduceOptions opts(gloo_context_.ctx);
  opts.setOutput(bitvector.data(), count);
  void (*func)(void*, const void*, const void*, size_t) = &BitAnd<long long>;
  opts.setReduceFunction(gloo::AllreduceOptions::Func(func));
  gloo::allreduce(opts);
"""
AGREED = "  CombineEverywhere(*gloo_context_.ctx, bitvector, count, &BitAnd<long long>);\n"
# What it sends alone, as our buckets are, comes back where it was: it would be copied onto itself.
COPIED = """    std::memcpy(buffer_data, first_entry.tensor->data(),
                (size_t)first_entry.tensor->size());
"""
COPIED_ELSEWHERE = f"    if (buffer_data != first_entry.tensor->data()) {{\n{COPIED}    }}\n"
# Started again, as elastic mode does, it would write its defaults over settings that were taken out of the list when it
# started first, and crash where none is left in that list.
WRITTEN, WRITTEN_IF_LISTED = "v[index_[variable]] = value;", "if (index_.count(variable)) v[index_[variable]] = value;"
# It would end with a traceback, whose last line alone is for the user.
LAUNCHED = "\n    _run(args)\n"
LAUNCHED_OR_TOLD = """
    from horovod.runner.common.util.timeout import TimeoutException

    try:
        _run(args)
    except (RuntimeError, ValueError, TimeoutException) as error:
        sys.exit('horovodrun: ' + ' '.join(str(error).split()))
"""
# A discovery script that fails would be told by the traceback of a thread, and what was waited for by its placeholder.
RAISED = """
                    self._wait_hosts_cond.notify_all()
                    raise
"""
KEPT = """
                    self._misconfiguration = str(e)
                    self._wait_hosts_cond.notify_all()
                    return
"""
TWICE, ONCE = "'Timed out waiting for {{activity}}.", "'Timed out waiting for {activity}."
SEE_ABOVE = "'Job has been shutdown, see above error messages for details.'"
SAID = "getattr(self, '_misconfiguration', 'the job was shut down')"
# It would wait for ever for a worker that hangs when rank 0, which ends last, has ended.
RUNNING = "        try:\n            exit_code = safe_shell_exec"
COUNTED = "        running[index] = host_name\n" + RUNNING
NOT_WATCHED = "    terminate_all_event = None if settings.elastic else threading.Event()\n"
WATCHED = (
    NOT_WATCHED
    + """
    running = {}

    def end_the_others():
        if running:
            left = ' and '.join(f'{rank} on {host}' for rank, host in sorted(running.items()))
            print(f'Rank 0 ended well 30 s ago; ending what still runs: rank {left}.')
            terminate_all_event.set()
"""
)
FAILED = "        if exit_code != 0 and terminate_all_event:\n"
ENDED = (
    """
        running.pop(index, None)
        if exit_code == 0 and index == 0 and terminate_all_event:
            last_call = threading.Timer(30, end_the_others)
            last_call.daemon = True
            last_call.start()
"""
    + FAILED
)
# Its workers' environment, with all passwords, would stand in command lines, which everybody on a host can read (`ps`),
# and so would the key by which its services know each other at the start, and unpickle what is signed with it. Here
# both travel through pipes: a worker of this host gets its environment as any child does, one of another through ssh.
EXPORTED = """        return '{shell} {horovod_env} {env} {run_command}' .format(
            shell='env',
            horovod_env=horovod_rendez_env,
            env=' '.join(['%s=%s' % (key, quote(value)) for key, value in env.items()
                          if env_util.is_exportable(key)]),
            run_command=run_command)
"""
NOT_EXPORTED = "        return f'env {horovod_rendez_env} {run_command}'\n"
EXECUTOR, EXECUTOR_WITH = "def _exec_command_fn(settings):", "def _exec_command_fn(settings, variables):"
MADE = "    exec_command = _exec_command_fn(settings)\n"
MADE_WITH = "    exec_command = _exec_command_fn(settings, {**env, 'PYTHONUNBUFFERED': '1'})\n"
LAUNCHES, MEETS = "    launch_gloo(command", "    rendezvous ="
REMOTE = """            local_command = quote('cd {pwd} > /dev/null 2>&1 ; {command}'
                                  .format(pwd=os.getcwd(), command=command))
"""
REMOTE_WITH = """            reader = ("import json, os, sys; os.environ.update(json.load(sys.stdin)); "
                      "os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])")
            given = json.dumps({key: value for key, value in variables.items() if env_util.is_exportable(key)})
            local_command = quote('cd {pwd} > /dev/null 2>&1 ; {python} -I -c {reader} {command}'.format(
                pwd=quote(os.getcwd()), python=quote(sys.executable), reader=quote(reader), command=quote(command)))
"""
ADDRESSED = "        local_addresses = network.get_local_host_addresses()\n"
STARTED = """            exit_code = safe_shell_exec.execute(command,
                                                index=index,
"""
STARTED_WITH = (
    STARTED
    + """                                                env=variables if given is None else None,
                                                given=given,
"""
)
MIDDLEMAN = "def _exec_middleman(command, env, exit_event, stdout, stderr, rw"
SHELL = "    executor_shell = subprocess.Popen(command, shell=True, env=env,\n"
SHELL_FED = SHELL + "                                      stdin=None if given is None else subprocess.PIPE,\n"
WAITED = "    exit_code = executor_shell.wait()\n"
FED = """    if given is not None:
        try:
            executor_shell.communicate(given.encode())
        except BrokenPipeError:
            pass  # it has ended, and its status tells
"""
EXECUTE = "            prefix_output_with_timestamp=False):"
HANDED = "(r, w)))\n    middleman.start()"
TASK = "                                                stdout=host_output,\n"
KEYED, FROM_INPUT = "settings=codec.dumps_base64(settings))", "settings='stdin')"
READ, READ_FROM_INPUT = "codec.loads_base64(sys.argv[4])", "codec.loads_base64(sys.stdin.read())"
# Its store, which asks nobody who calls and in elastic mode unpickles (CVE-2024-10190), would listen on all interfaces.
STORE = "    def __init__(self, verbose=0):\n        self._httpd = None\n"
STORE_SOMEWHERE = STORE.replace("=0", "=0, address=''") + "        self._address = address\n"
EVERYWHERE = "            lambda addr: RendezvousHTTPServer(\n                addr, handler_cls"
THERE = "            lambda addr: RendezvousHTTPServer(\n                (self._address, addr[1]), handler_cls"
STATIC = "    rendezvous = RendezvousServer(settings.verbose)\n\n"
ELASTIC = "    rendezvous = RendezvousServer(settings.verbose)\n    return"
ELASTIC_THERE = """    if not settings.nics:
        raise ValueError('elastic mode needs --network-interface: lo for this host alone, or the one '
                         'that all hosts have')
    rendezvous = RendezvousServer(settings.verbose, network.get_driver_ip(settings.nics))
    return"""
# Of the interfaces that all hosts have it would take any, another one at each start, and the loopback, too, where there
# is one other host than the launcher's.
PROBED = "            nics = _driver_fn(all_host_names, local_host_names, settings, fn_cache=fn_cache)\n"
ROUTED = PROBED + "            nics = set(nics) - network.get_local_intfs() or nics\n"
ANY, SAME = "list(nics)[0]", "sorted(nics)[0]"
ADDRESSES = "    for addr in net_if_addrs()[iface]:"
NO_ADDRESS = "'Cannot find an IPv4 address of the common interface.'"
RUN, SHELL_EXEC = "horovod/runner/gloo_run.py", "horovod/runner/common/util/safe_shell_exec.py"
DRIVER_SERVICE = "horovod/runner/driver/driver_service.py"
CHANGES: tuple[tuple[str, str, str], ...] = (
    ("horovod/runner/launch.py", LAUNCHED, LAUNCHED_OR_TOLD),
    ("horovod/runner/elastic/driver.py", RAISED, KEPT),
    ("horovod/runner/elastic/driver.py", SEE_ABOVE, SAID),
    ("horovod/runner/elastic/driver.py", TWICE, ONCE),
    (RUN, NOT_WATCHED, WATCHED),
    (RUN, RUNNING, COUNTED),
    (RUN, FAILED, ENDED),
    (RUN, "import errno\n", "import errno\nimport json\n"),
    (RUN, EXPORTED, NOT_EXPORTED),
    (RUN, EXECUTOR, EXECUTOR_WITH),
    (RUN, MADE + LAUNCHES, MADE_WITH + LAUNCHES),
    (RUN, MADE + MEETS, MADE_WITH + MEETS),
    (RUN, ADDRESSED, ADDRESSED + "        given = None\n"),
    (RUN, REMOTE, REMOTE_WITH),
    (RUN, STARTED, STARTED_WITH),
    (RUN, STATIC, STATIC.replace("verbose", "verbose, server_ip")),
    (RUN, ELASTIC, ELASTIC_THERE),
    (SHELL_EXEC, MIDDLEMAN, MIDDLEMAN + ", given"),
    (SHELL_EXEC, SHELL, SHELL_FED),
    (SHELL_EXEC, WAITED, FED + WAITED),
    (SHELL_EXEC, EXECUTE, EXECUTE.replace(")", ", given=None)")),
    (SHELL_EXEC, HANDED, HANDED.replace("w)))", "w), given))")),
    (DRIVER_SERVICE, TASK, TASK + TASK.replace("stdout=host_output", "given=codec.dumps_base64(settings)")),
    (DRIVER_SERVICE, KEYED, FROM_INPUT),
    (DRIVER_SERVICE, PROBED, ROUTED),
    (RUN, ANY, SAME),
    ("horovod/runner/util/network.py", ANY, SAME),
    ("horovod/runner/task_fn.py", READ, READ_FROM_INPUT),
    ("horovod/runner/util/network.py", ADDRESSES, ADDRESSES.replace("[iface]", ".get(iface, [])")),
    ("horovod/runner/util/network.py", NO_ADDRESS, "f'this host has no interface {iface} with an IPv4 address'"),
    ("horovod/runner/http/http_server.py", STORE, STORE_SOMEWHERE),
    ("horovod/runner/http/http_server.py", EVERYWHERE, THERE),
    ("CMakeLists.txt", CXX14, CXX17),
    ("horovod/torch/CMakeLists.txt", CXX14, CXX17),
    ("cmake/Modules/FindPytorch.cmake", TORCH_FINDS_CUDA, WE_FOUND_CUDA),
    ("horovod/common/operations.cc", *INCLUDED),
    ("horovod/common/operations.cc", FIXED, ENDED_EARLY),
    ("horovod/common/parameter_manager.cc", WRITTEN, WRITTEN_IF_LISTED),
    ("horovod/torch/mpi_ops_v2.cc", *INCLUDED_IN_TORCH),
    ("horovod/torch/mpi_ops_v2.cc", BUSY, PAUSING),
    ("horovod/torch/handle_manager.cc", *INCLUDED_AT_HANDLES),
    ("horovod/torch/handle_manager.cc", DONE, DONE_AND_TOLD),
    ("horovod/common/gloo/gloo_controller.cc", *INCLUDED_AT_GLOO),
    ("horovod/common/gloo/gloo_controller.cc", RING, AGREED),
    ("horovod/common/gloo/gloo_controller.cc", RING.replace("And", "Or"), AGREED.replace("And", "Or")),
    ("horovod/common/ops/gloo_operations.cc", COPIED, COPIED_ELSEWHERE),
)
