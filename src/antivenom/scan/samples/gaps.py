"""Callables that deny lists have missed. Each runs code, a command or a file operation that the file chooses."""

from __future__ import annotations

import marshal
from collections.abc import Callable

from antivenom.scan.samples.assembly import Op, Sample, call, code, named, payload, pickled, put, sample, shell

_TORCH, _NUMPY = ("torch",), ("numpy",)


def _gap(
    path: str, build: Callable[[str], Op], reference: str, fires: bool | str = True, packages: tuple[str, ...] = ()
) -> Sample:
    """A sample whose stream has one value, the return value of `build` for the marker."""
    loader = "torch" if packages == _TORCH else "pickle"
    return sample(f"gap/{path}", lambda m: pickled(build(m)), reference, ".pkl", loader, fires, packages)


def _with_state(path: str, state: dict[str, object]) -> Op:
    """An instance that is created without __init__ and gets its attributes by BUILD."""
    return Op(call("copyreg:__newobj__", named(path)) + put(state) + b"b")


def _function(marker: str) -> Op:
    compiled = marshal.dumps(compile(code(marker), "<sample>", "exec"))
    return call(
        call("types:FunctionType", call("marshal:loads", compiled), {"__builtins__": named("builtins:__dict__")})
    )


_CLASS = "spec: deny-list gaps, one more callable"
SAMPLES: tuple[Sample, ...] = (
    _gap("os.system", lambda m: call("os:system", shell(m)), _CLASS),
    _gap("posix.mkdir", lambda m: call("posix:mkdir", m), _CLASS),
    _gap("subprocess.check_output", lambda m: call("subprocess:check_output", ["touch", m]), _CLASS),
    _gap("builtins.exec", lambda m: call("builtins:exec", code(m)), _CLASS),
    _gap("pkgutil.resolve_name", lambda m: call(call("pkgutil:resolve_name", "os:mkdir"), m), "spec; modelaudit pull request 581"),
    _gap("pydoc.pipepager", lambda m: call("pydoc:pipepager", "", shell(m)), "picklescan deny list: pydoc"),
    _gap("pydoc.locate", lambda m: call(call("pydoc:locate", "os.mkdir"), m), _CLASS),
    _gap("idlelib.calltip.get_entity", lambda m: call("idlelib.calltip:get_entity", code(m)), "GHSA-8r4j-24qv-fmq9 (Calltip.fetch_tip)"),
    _gap("idlelib.autocomplete.get_entity", lambda m: call("idlelib.autocomplete:AutoComplete.get_entity", None, code(m)), "picklescan deny list: idlelib.autocomplete"),
    _gap("idlelib.run.Executive.runcode", lambda m: call("idlelib.run:Executive.runcode", _with_state("types:SimpleNamespace", {"locals": {}}), code(m)), "GHSA-m869-42cg-3xwr"),
    _gap("uuid._get_command_stdout", lambda m: call("uuid:_get_command_stdout", "touch", m), "fickling GHSA-5hwf-rc88-82xm"),
    _gap("imaplib.IMAP4_stream", lambda m: call("imaplib:IMAP4_stream", shell(m)), "picklescan deny list: imaplib"),
    _gap("timeit.timeit", lambda m: call("timeit:timeit", code(m), "pass", named("time:perf_counter"), 1), "picklescan pull request 40"),
    _gap("cProfile.runctx", lambda m: call("cProfile:runctx", code(m), {}, {}, f"{m}.profile"), "GHSA-9w88-8rmg-7g2p"),
    _gap("profile.Profile.run", lambda m: call("profile:Profile.run", call("profile:Profile"), code(m)), "GHSA-46h3-79wf-xr6c"),
    _gap("trace.Trace.run", lambda m: call("trace:Trace.runctx", call("trace:Trace", False, False), code(m), {}, {}), "picklescan deny list: trace"),
    _gap("bdb.Bdb.run", lambda m: call("bdb:Bdb.runeval", call("bdb:Bdb", ["*"]), code(m), {}, {}), "picklescan pull request 29"),
    _gap("doctest.debug_script", lambda m: call("doctest:debug_script", code(m), True, {}), "GHSA-fqq6-7vqf-w3fg"),
    _gap("code.InteractiveInterpreter.runsource", lambda m: call("code:InteractiveInterpreter.runsource", call("code:InteractiveInterpreter"), code(m)), "picklescan deny list: code"),
    _gap("runpy._run_code", lambda m: call("runpy:_run_code", call("builtins:compile", code(m), "x", "exec"), {}), "picklescan deny list: runpy"),
    _gap("asyncio._UnixSubprocessTransport._start", lambda m: call("asyncio.unix_events:_UnixSubprocessTransport._start", call("types:SimpleNamespace"), shell(m), True, None, None, None, 0), "GHSA-q77w-mwjj-7mqx"),
    _gap("lib2to3.Grammar.loads", lambda m: call("lib2to3.pgen2.grammar:Grammar.loads", call("types:SimpleNamespace"), pickled(payload(m))), "picklescan deny list: lib2to3.pgen2.grammar"),
    _gap("lib2to3.ParserGenerator.make_label", lambda m: call("lib2to3.pgen2.pgen:ParserGenerator.make_label", None, _with_state("types:SimpleNamespace", {"labels": [], "keywords": {}, "tokens": {}}), f"'' if {code(m)} else '()'"), "GHSA-p9w7-82w4-7q8m"),
    _gap("ensurepip._run_pip", lambda m: call("ensurepip:_run_pip", "[]; sys.exit()", f"[{code(m)}] and []"), "GHSA-xp4f-hrf8-rxw7"),
    _gap("distutils.file_util.write_file", lambda m: call("distutils.file_util:write_file", m, ["x"]), "fickling pull request 210; CVE-2025-10155"),
    _gap("distutils.spawn.spawn", lambda m: call("distutils.spawn:spawn", ["touch", m]), _CLASS),
    _gap("operator.methodcaller", lambda m: call(call("operator:methodcaller", "mkdir", m), named("shutil:os")), "GHSA-955r-x9j8-7rhh"),
    _gap("_operator.attrgetter", lambda m: call(call(call("_operator:attrgetter", "mkdir"), named("shutil:os")), m), "GHSA-m273-6v24-x4m4"),
    _gap("functools.reduce", lambda m: call(call("functools:reduce", named("builtins:getattr"), ["mkdir"], named("shutil:os")), m), _CLASS),
    _gap("types.FunctionType", _function, "fickling: marshal and types"),
    _gap("multiprocessing.util.spawnv_passfds", lambda m: call("multiprocessing.util:spawnv_passfds", b"/usr/bin/touch", [b"touch", m.encode()], []), "picklescan deny list: multiprocessing.util"),
    _gap("webbrowser.GenericBrowser", lambda m: call("webbrowser:GenericBrowser.open", call("webbrowser:GenericBrowser", ["touch", "%s"]), m), _CLASS),
    _gap("logging.FileHandler", lambda m: call("logging:FileHandler", m), "picklescan deny list: logging"),
    _gap("logging.config.dictConfig", lambda m: call("logging.config:dictConfig", {"version": 1, "formatters": {"f": {"()": "os.mkdir", "path": m}}}), "picklescan deny list: logging"),
    _gap("io.FileIO", lambda m: call("_io:FileIO", m, "w"), "fickling pull request 210: _io.FileIO"),
    _gap("urllib.request.urlretrieve", lambda m: call("urllib.request:urlretrieve", "data:,x", m), _CLASS),
    _gap("xmlrpc.server.resolve_dotted_attribute", lambda m: call(call("xmlrpc.server:resolve_dotted_attribute", named("shutil:os"), "mkdir"), m), _CLASS),
    _gap("mailcap.findmatch", lambda m: call("mailcap:findmatch", {"a/b": [{"test": shell(m), "view": "x"}]}, "a/b"), "picklescan pull request 69"),
    _gap("dataclasses._create_fn", lambda m: call("dataclasses:_create_fn", "f", [f"x={code(m)}"], ["pass"]), "spec: private stdlib interpreters"),
    _gap("typing.ForwardRef", lambda m: call("typing:ForwardRef._evaluate", call("typing:ForwardRef", code(m)), {}, {}, call("builtins:frozenset")), "spec: private stdlib interpreters"),
    _gap("_osx_support._read_output", lambda m: call("_osx_support:_read_output", shell(m)), "fickling GHSA-5hwf-rc88-82xm"),
    _gap("_aix_support._read_cmd_output", lambda m: call("_aix_support:_read_cmd_output", shell(m)), "fickling GHSA-5hwf-rc88-82xm", "a function that 3.11 has no more"),
    _gap("venv.create", lambda m: call("venv:create", m, False, False, False, False), "fickling pull request 210: venv"),
    _gap("pip.main", lambda m: call("pip:main", ["--quiet", "--log", m, "cache", "dir"]), "CVE-2025-1716", packages=("pip",)),
    _gap("numpy.f2py.crackfortran.myeval", lambda m: call("numpy.f2py.crackfortran:myeval", code(m), {}, {}), "GHSA-3329-ghmp-jmv5", packages=_NUMPY),
    _gap("numpy.f2py.crackfortran._eval_length", lambda m: call("numpy.f2py.crackfortran:_eval_length", code(m), {}), "GHSA-6556-fwc2-fg2p", packages=_NUMPY),
    _gap("numpy.f2py.crackfortran.param_eval", lambda m: call("numpy.f2py.crackfortran:param_eval", code(m), {}, {}), "GHSA-cffc-mxrf-mhh4", packages=_NUMPY),
    _gap("numpy.testing.runstring", lambda m: call("numpy.testing._private.utils:runstring", code(m), {}), "picklescan pull request 40", packages=_NUMPY),
    _gap("torch.jit.execWrapper", lambda m: call("torch.jit.unsupported_tensor_ops:execWrapper", code(m), {}, {}), "picklescan deny list: torch.jit", packages=_TORCH),
    _gap("torch.utils.collect_env.run", lambda m: call("torch.utils.collect_env:run", shell(m)), "picklescan deny list: torch.utils.collect_env", packages=_TORCH),
    _gap("torch.utils._config_module.load_config", lambda m: call("torch.utils._config_module:ConfigModule.load_config", call("types:SimpleNamespace"), pickled(payload(m))), "picklescan deny list: torch.utils._config_module", packages=_TORCH),
    _gap("torch.storage._load_from_bytes", lambda m: call("torch.storage:_load_from_bytes", pickled(payload(m), 2)), "spec: nested pickles; picklescan", packages=_TORCH),
    _gap("torch.bottleneck.run_cprofile", lambda m: call("torch.utils.bottleneck.__main__:run_cprofile", code(m), {}), "GHSA-4whj-rm5r-c2v8 (run_autograd_prof)", "a module that torch 2.13 has no more", packages=_TORCH),
    _gap("torch._tensor._rebuild_from_type_v2", lambda m: call("torch._tensor:_rebuild_from_type_v2", named("os:mkdir"), named("torch:Tensor"), (m,), None), "spec: listed callables that call their argument", packages=_TORCH),
)  # fmt: skip
