"""Submit files that between them use the language of condor_submit."""
# ruff: noqa: E501 (a file in a line)

#: Name → the file; beside each there are the files of :data:`BESIDE`.
FILES = {
    "one": "executable = prog.sh\narguments = a b\nqueue\n",
    "several": "executable = prog.sh\narguments = $(Process) $(ProcId) $(Step)\nqueue 3\n",
    "computed count": "executable = prog.sh\nn = 2\narguments = $INT(n)\nqueue $(n)\n",
    "in": "executable = prog.sh\narguments = $(x) $(Step) $(ItemIndex) $(Row)\nqueue x in (north south)\n",
    "count in": "executable = prog.sh\narguments = $(x) $(Step) $(ItemIndex)\nqueue 2 x in (a, b, c)\n",
    "in without a name": "executable = prog.sh\narguments = $(Item)\nqueue in (a b)\n",
    "in on lines": "executable = prog.sh\narguments = $(x)\nqueue x in (\n  a\n  b, c\n)\n",
    "from": "executable = prog.sh\narguments = $(x)-$(y)\nqueue x, y from list.txt\n",
    "from with a slice": "executable = prog.sh\narguments = $(x)\nqueue x, y from [1:] list.txt\n",
    "from on lines": "executable = prog.sh\narguments = $(x)+$(y)\nqueue 1 x,y from (\n  1, one two\n  # 2\n  3, three\n)\n",
    "from too few": "executable = prog.sh\narguments = $(x) $(y) $(z)\nqueue x,y,z from list.txt\n",
    "from a program": "executable = prog.sh\narguments = $(x)\nqueue x from /bin/ls inputs |\n",
    "matching": "executable = prog.sh\narguments = $(f) $Fn(f)\ntransfer_input_files = $(f)\nqueue f matching files inputs/*.dat\n",
    "matching directories": "executable = prog.sh\narguments = $(d)\nqueue d matching dirs in*\n",
    "arguments from": "executable = prog.sh\nqueue arguments from lines.txt\n",
    "several commands from": "executable = prog.sh\nqueue request_memory, arguments from sizes.txt\n",
    "two statements": "executable = prog.sh\narguments = 1\nqueue 2\narguments = 2\n+Late = True\nqueue\n",
    "two with macros": "executable = prog.sh\nx = a\narguments = $(x) $(y:none)\nqueue\nx = b\nqueue 1 y in (p q)\n",
    "two alike": "executable = prog.sh\narguments = $(Process)\nqueue 1\nqueue 2\n",
    "memory of each": "executable = prog.sh\nrequest_memory = 16\nqueue\nrequest_memory = 24\nqueue\n",
    "included": "include : common.inc\nexecutable = prog.sh\narguments = $(where)\nqueue\n",
    "conditions": (
        "executable = prog.sh\nwide = true\nif $(wide)\n  arguments = wide\nelse\n  arguments = narrow\nendif\n"
        "if defined nothing\n  n = 7\nelif version >= 8.1.0\n  n = 2\nendif\nqueue $(n)\n"
    ),
    "old arguments": 'executable = prog.sh\narguments = one it\'s \\"two\\"\nqueue\n',
    "new arguments": "executable = prog.sh\narguments = \"one 'two three' 'it''s' \"\"four\"\"\"\nqueue\n",
    "arguments in a macro": "executable = prog.sh\nall = \"'a b' c\"\narguments = $(all)\nqueue\n",
    "old environment": "executable = prog.sh\nenvironment = A=1;B=two words;C=$(Process)\nqueue 2\n",
    "new environment": "executable = prog.sh\nenvironment = \"A=1 B='two words' C=it''s\"\nqueue\n",
    "attributes": 'executable = prog.sh\n+Project = "basin"\nMY.Number = 8\n+Flag = true\nqueue\n',
    "functions": (
        "executable = prog.sh\nlist = a, b, c\narguments = $CHOICE(Process, list) $SUBSTR(list, 0, 1) $REAL(half,%.2f) "
        "$Fn(data)\nhalf = 1/2.0\ndata = inputs/two.dat\nqueue 3\n"
    ),
    "continued": "executable = prog.sh\narguments = one \\\n   two \\\n   three\n# a comment \\\nqueue\n",
    "case and tabs": "EXECUTABLE\t=\tprog.sh\nArguments\t= $(PROCESS)\n\tQUEUE\t2\n",
    "windows": "executable = prog.sh\r\narguments = a\r\nqueue 2\r\n",
    "names of outputs": "executable = prog.sh\noutput = out/$(Cluster).$(Process).txt\nerror = e.txt\nlog = l.log\nqueue 1\n",
    "inputs": "executable = prog.sh\ntransfer_input_files = inputs, list.txt\ninput = lines.txt\nqueue\n",
    "input of each": "executable = prog.sh\ninput = inputs/$(n).dat\nqueue n in (one two)\n",
    "policies": (
        "executable = prog.sh\nrequirements = (OpSys == \"LINUX\") && (Memory > 1)\npriority = 5\n"
        "max_retries = 2\nperiodic_remove = (JobStatus == 5) && (time() - EnteredCurrentStatus > 600)\n"
        "request_cpus = 1\nrequest_disk = 10MB\njob_max_vacate_time = 5\nnotification = never\nqueue\n"
    ),
    "a program of the machine": "executable = /bin/true\ntransfer_executable = false\nqueue 2\n",
    "names of items alike": "executable = prog.sh\narguments = $(name) $(Other_Name)\nqueue name, other_name from list.txt\n",
    "strange items": "executable = prog.sh\narguments = \"'$(x)'\"\nqueue x from strange.txt\n",
    "commands in commands": (
        "cmd = prog.sh\ntransfer_input_files = list.txt\ninput = lines.txt\n"
        "arguments = --f $(transfer_input_files) $(cmd) $(input)\nqueue\n"
    ),
    "an alias beside the name": "executable = prog.sh\narguments = a\nargs = b\nqueue\n",
    "a variable that was a macro": "executable = prog.sh\nx = 5\narguments = $(x)\nqueue\nqueue x in (a b)\n",
    "names alike": "executable = prog.sh\nTag = x\n+Tag = 5\narguments = $(Tag)\nqueue\nTag = y\n+Tag = 6\nqueue\n",
    "macros in macros": "executable = prog.sh\ninput1 = a\ninput0 = b\narguments = $(input$(Process))\nqueue 2\n",
    "requirements in a block": "executable = prog.sh\nrequirements @=end\nOpSys == \"LINUX\" &&\nMemory > 1\n@end\nqueue\n",
    "block": "executable = prog.sh\narguments @=end\nin a block\n@end\nqueue\n",
}  # fmt: skip
#: What lies beside each file.
BESIDE = {
    "prog.sh": "#!/bin/sh\nexit 0\n",
    "list.txt": "north, 1\nsouth, 2\nwest, 3\n",
    "lines.txt": "-v one\n--name=two\n",
    "sizes.txt": "16, small\n24, large\n",
    "strange.txt": "#first\n)\na # b\n100%\n",
    "common.inc": "where = included\n+Common = 1\n",
    "inputs/one.dat": "1\n",
    "inputs/two.dat": "2\n",
}
