"""DAG files that between them use every command of DAGMan's language."""

# ruff: noqa: E501 (a file in a line)
#: The programs of the nodes, in the folder of each DAG.
_NEEDS = "should_transfer_files = yes\nrequest_cpus = 1\nrequest_memory = 16MB\nrequest_disk = 1MB\n"
_SHELL = "executable = /bin/sh\ntransfer_executable = false\n"
BESIDE = {
    # says its arguments; most jobs run at the access point, which takes less time
    "n.sub": f"universe = local\nexecutable = prog.sh\narguments = $(JOB) $(word)\noutput = out.$(JOB)\nerror = err.$(JOB)\n{_NEEDS}queue\n",
    # exits with $(code)
    "end.sub": f"universe = local\n{_SHELL}arguments = \"-c 'echo $(JOB); exit $(code)'\"\noutput = out.$(JOB)\n{_NEEDS}queue\n",
    "two.sub": f"executable = prog.sh\narguments = $(Process)\noutput = out.$(JOB).$(Process)\n{_NEEDS}queue 2\n",
    # hands on a file
    "give.sub": f"{_SHELL}arguments = \"-c 'echo given > $(JOB).txt'\"\n{_NEEDS}queue\n",
    "take.sub": f"{_SHELL}arguments = \"-c 'cat $(from).txt'\"\ntransfer_input_files = $(from).txt\noutput = out.$(JOB)\n"
    f"{_NEEDS}queue\n",
    "prog.sh": '#!/bin/sh\necho "says $@"\n',
    "note.sh": '#!/bin/sh\necho "$@" >> notes.txt\n',
    "fail.sh": "#!/bin/sh\nexit 4\n",
    "s.dag": "JOB X n.sub\nJOB Y n.sub\nPARENT X CHILD Y\n",
    "in.dag": "JOB P n.sub\nJOB Q n.sub\nPARENT P CHILD Q\n",
}
_CHAIN = "JOB A n.sub\nJOB B n.sub\nPARENT A CHILD B\n"

#: Name → the DAG file, and files beside it.
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "one": ("JOB A n.sub\n", {}),
    "chain": (_CHAIN, {}),
    "diamond": (
        "JOB A n.sub\nJOB B n.sub\nJOB C n.sub\nJOB D n.sub\nPARENT A CHILD B C\nPARENT B C CHILD D\n",
        {},
    ),
    "case, tabs and comments": ("# a comment\n\njob\tA\tn.sub\nJob B n.sub\n  parent A child B\n", {}),
    "continued": ("JOB A n.sub\nJOB B \\\n  n.sub\nPARENT A \\\n CHILD \\\n B\n", {}),
    "two processes": ("JOB A two.sub\nJOB B n.sub\nPARENT A CHILD B\n", {}),
    "dots in names": ("JOB A.1 n.sub\nJOB b-2_x n.sub\nPARENT A.1 CHILD b-2_x\n", {}),
    "described inside": (
        f"JOB A {{\nexecutable = prog.sh\narguments = inside\noutput = out.A\n{_NEEDS}}}\nJOB B n.sub\nPARENT A CHILD B\n",
        {},
    ),
    "one description for two": (
        f"SUBMIT-DESCRIPTION say {{\nexecutable = prog.sh\narguments = $(JOB)\noutput = out.$(JOB)\n{_NEEDS}}}\n"
        "JOB A say\nJOB B say\nPARENT A CHILD B\n",
        {},
    ),
    "variables": ('JOB A n.sub\nVARS A word="hello there" other="x"\nVARS A third="y"\n', {}),
    "variables with quotes": ('JOB A n.sub\nVARS A word="it\\"s"\n', {}),
    "variables before and after": (
        'JOB A n.sub\nJOB B n.sub\nVARS A PREPEND word="first"\nVARS B APPEND word="last"\n',
        {},
    ),
    "variables of all": ('JOB A n.sub\nJOB B n.sub\nVARS ALL_NODES word="$(JOB)-all"\n', {}),
    "tried again": ('JOB A end.sub\nVARS A code="$INT(left)" left="1-$(RETRY)"\nRETRY A 2\n', {}),
    "tried in vain": ('JOB A end.sub\nVARS A code="2"\nRETRY A 1\nJOB B n.sub\nPARENT A CHILD B\n', {}),
    "not tried again": ('JOB A end.sub\nVARS A code="2"\nRETRY A 3 UNLESS-EXIT 2\n', {}),
    "some fail": ('JOB A n.sub\nJOB B end.sub\nVARS B code="1"\nJOB C n.sub\nPARENT A B CHILD C\n', {}),
    "scripts": (f"{_CHAIN}SCRIPT PRE A note.sh pre $JOB\nSCRIPT POST A note.sh post $JOB $RETURN\n", {}),
    "scripts of all": (f"{_CHAIN}SCRIPT PRE ALL_NODES note.sh pre $JOB\n", {}),
    "a post script saves it": (
        'JOB A end.sub\nVARS A code="5"\nSCRIPT POST A note.sh post $RETURN\nJOB B n.sub\nPARENT A CHILD B\n',
        {},
    ),
    "a post script fails": (f"{_CHAIN}SCRIPT POST A fail.sh\n", {}),
    "a pre script fails": (f"{_CHAIN}SCRIPT PRE A fail.sh\n", {}),
    "skipped": (f"{_CHAIN}SCRIPT PRE A fail.sh\nPRE_SKIP A 4\n", {}),
    "a script later": (
        f"{_CHAIN}SCRIPT DEFER 4 1 PRE A again.sh\n",
        {"again.sh": "#!/bin/sh\n[ -e been ] && exit 0\ntouch been\nexit 4\n"},
    ),
    "what a script says": (f"{_CHAIN}SCRIPT DEBUG said.txt ALL PRE A prog.sh hello\n", {}),
    "a script for holds": (f"{_CHAIN}SCRIPT HOLD A note.sh held\n", {}),
    "a parent makes a file": (
        'JOB A give.sub\nJOB B take.sub\nVARS B from="A"\nPARENT A CHILD B\n',
        {},
    ),
    "a script makes a file": (
        'JOB B take.sub\nVARS B from="made"\nSCRIPT PRE B make.sh\n',
        {"make.sh": "#!/bin/sh\necho made > made.txt\n"},
    ),
    "a script makes a submit file": (
        "JOB B made.sub\nSCRIPT PRE B make.sh\n",
        {"make.sh": "#!/bin/sh\ncp n.sub made.sub\n"},
    ),
    "ended early, well": (
        'JOB A end.sub\nVARS A code="7"\nABORT-DAG-ON A 7 RETURN 0\nJOB B n.sub\nPARENT A CHILD B\n',
        {},
    ),
    "ended early": ('JOB A end.sub\nVARS A code="7"\nABORT-DAG-ON A 7 RETURN 1\nJOB B n.sub\nPARENT A CHILD B\n', {}),
    "no job": (f"JOB N n.sub NOOP\n{_CHAIN}PARENT N CHILD A\nSCRIPT PRE N note.sh noop\n", {}),
    "done from the start": ("JOB A n.sub DONE\nJOB B n.sub\nPARENT A CHILD B\n", {}),
    "folders": (
        "JOB A n.sub DIR one\nJOB B n.sub DIR two\nPARENT A CHILD B\nSCRIPT POST B note.sh $JOB\n",
        {f"{folder}/{name}": BESIDE[name] for folder in ("one", "two") for name in ("n.sub", "prog.sh", "note.sh")},
    ),
    "a final node": (f"{_CHAIN}FINAL F n.sub\n", {}),
    "a final node after a failure": (
        'JOB A end.sub\nVARS A code="1"\nFINAL F end.sub\nVARS F code="0"\n',
        {},
    ),
    "a final node that fails": (f'{_CHAIN}FINAL F end.sub\nVARS F code="9"\n', {}),
    "priorities and throttles": (
        "JOB A n.sub\nJOB B n.sub\nJOB C n.sub\nCATEGORY A big\nCATEGORY B big\nCATEGORY C big\nMAXJOBS big 1\n"
        "PRIORITY C 10\n",
        {},
    ),
    "configured": (f"CONFIG dagman.conf\n{_CHAIN}", {"dagman.conf": "# ours\nDAGMAN_MAX_JOBS_IDLE = 1\n"}),
    "an environment": (
        f"ENV SET PLANET=earth;MOON=luna\n{_CHAIN}SCRIPT PRE A env.sh\n",
        {"env.sh": '#!/bin/sh\necho "$PLANET $MOON" > planets.txt\n'},
    ),
    "an attribute of DAGMan": (f'SET_JOB_ATTR Basin = "north"\n{_CHAIN}', {}),
    "included": ("INCLUDE more.inc\nJOB B n.sub\nPARENT A CHILD B\n", {"more.inc": "JOB A n.sub\n"}),
    "a splice": ("JOB A n.sub\nSPLICE S s.dag\nJOB B n.sub\nPARENT A CHILD S\nPARENT S CHILD B\n", {}),
    "splices in splices": (
        "SPLICE S outer.dag\nSPLICE T s.dag\nPARENT S CHILD T\n",
        {"outer.dag": "SPLICE I s.dag\nJOB O n.sub\nPARENT I CHILD O\n"},
    ),
    "a splice in a folder": (
        "SPLICE S s.dag DIR sub\nJOB A n.sub\nPARENT A CHILD S\n",
        {f"sub/{name}": BESIDE[name] for name in ("s.dag", "n.sub", "prog.sh")},
    ),
    "pins": (
        "SPLICE S out.dag\nSPLICE T into.dag\nCONNECT S T\n",
        {
            "out.dag": "JOB X n.sub\nJOB Y n.sub\nPIN_OUT X 1\nPIN_OUT Y 2\n",
            "into.dag": "JOB X n.sub\nJOB Y n.sub\nPIN_IN X 1\nPIN_IN Y 2\n",
        },
    ),
    "an inner DAG": ("JOB A n.sub\nSUBDAG EXTERNAL I in.dag\nJOB B n.sub\nPARENT A CHILD I\nPARENT I CHILD B\n", {}),
    "an inner DAG that fails": (
        "SUBDAG EXTERNAL I bad.dag\nJOB B n.sub\nPARENT I CHILD B\n",
        {"bad.dag": 'JOB P n.sub\nJOB Q end.sub\nVARS Q code="6"\nPARENT P CHILD Q\nJOB R n.sub\nPARENT Q CHILD R\n'},
    ),
    "an inner DAG in a folder": (
        "SUBDAG EXTERNAL I in.dag DIR sub\n",
        {f"sub/{name}": BESIDE[name] for name in ("in.dag", "n.sub", "prog.sh")},
    ),
    "an inner DAG that a script makes": (
        "SUBDAG EXTERNAL I made.dag\nSCRIPT PRE I make.sh\n",
        {"make.sh": "#!/bin/sh\ncp in.dag made.dag\n"},
    ),
    "an inner DAG with a splice": (
        "SUBDAG EXTERNAL I both.dag\n",
        {"both.dag": "SPLICE S s.dag\nJOB Q n.sub\nPARENT S CHILD Q\n"},
    ),
    "drawn": (f"DOT picture.dot UPDATE\n{_CHAIN}", {}),
    "its own status file": (f"NODE_STATUS_FILE nodes.status 1\n{_CHAIN}", {}),
    "a log of states": (f"JOBSTATE_LOG states.log\n{_CHAIN}", {}),
    "a save point": (f"{_CHAIN}SAVE_POINT_FILE B here.save\n", {}),
    "rescued": (_CHAIN, {"a.dag.rescue001": "DONE A\n"}),
    "an inner DAG that is rescued": (
        "SUBDAG EXTERNAL I in.dag\n",
        {"in.dag.rescue001": "DONE P\n"},
    ),
    "a name of each node": (
        f"{_CHAIN}JOB C {{\n{_SHELL}arguments = \"-c 'cat in.$(JOB)'\"\ntransfer_input_files = in.$(JOB)\noutput = out.C\n{_NEEDS}}}\n",
        {"in.C": "of C\n", "in.D": "of D\n"},
    ),
    "fetched from the environment": (
        f"ENV GET STAR\n{_CHAIN}SCRIPT PRE A env.sh\n",
        {"env.sh": '#!/bin/sh\necho "$STAR" > stars.txt\n'},
    ),
    "as htcondor2.dags writes it": (
        "# BEGIN META\nCONFIG dagman.config\n# END META\n# BEGIN NODES AND EDGES\n"
        'JOB first:0 layer.sub\nVARS first:0 word="one"\nRETRY first:0 1\nSCRIPT PRE first:0 note.sh pre $JOB\n'
        'JOB first:1 layer.sub\nVARS first:1 word="two"\nPARENT first:0 CHILD second:0\nPARENT first:1 CHILD second:1\n'
        'JOB second:0 layer.sub\nVARS second:0 word="x"\nABORT-DAG-ON second:0 9 RETURN 1\n'
        'JOB second:1 layer.sub\nVARS second:1 word="y"\nPARENT second:0 second:1 CHILD __JOIN__0\n'
        "JOB __JOIN__0 __JOIN__.sub NOOP\nPARENT __JOIN__0 CHILD last:0\n"
        'JOB last:0 layer.sub\nVARS last:0 word="z"\n# END NODES AND EDGES\n# FINAL NODE\nFINAL after layer.sub\n'
        'VARS after word="end"\n# END FINAL NODE\n',
        {
            "dagman.config": "DAGMAN_MAX_JOBS_IDLE = 10\n",
            "__JOIN__.sub": "",
            "layer.sub": "universe = local\nexecutable = prog.sh\narguments = $(word)\noutput = out.$(word)\nqueue\n",
        },
    ),
    "as Pegasus plans it": (
        "#####\n# PEGASUS WMS GENERATED DAG FILE\n#####\nMAXJOBS stagein 10\nMAXJOBS cleanup 4\n\n"
        "JOB stage_in_local_0_0 00/00/stage_in_local_0_0.sub\n"
        "SCRIPT POST stage_in_local_0_0 @HERE@/exitcode  -r $RETURN -l d-0.exitcode.log   .//00/00/stage_in_local_0_0.out\n"
        "PRIORITY stage_in_local_0_0 700\nRETRY stage_in_local_0_0 1\nCATEGORY stage_in_local_0_0 stagein\n"
        'VARS stage_in_local_0_0 +DAGNodeRetry="$(RETRY)"\n\nJOB wc_ID0000002 00/00/wc_ID0000002.sub\n'
        "SCRIPT POST wc_ID0000002 @HERE@/exitcode  -r $RETURN -l d-0.exitcode.log   .//00/00/wc_ID0000002.out\n"
        'PRIORITY wc_ID0000002 30\nVARS wc_ID0000002 +DAGNodeRetry="$(RETRY)"\n\n'
        "PARENT  stage_in_local_0_0 CHILD wc_ID0000002\n#####\n# End of DAG\n#####\n",
        {
            "exitcode": '#!/bin/sh\nfor last; do :; done\nmv "$last" "$last.000" && echo "$2 $last" >> "$4"\nexit "$2"\n',
            "00/00/stage_in_local_0_0.in": "[]\n",
            "00/00/stage_in_local_0_0.sub": "stream_error  = false\nstream_output = false\n"
            'environment = "LANG=C CONDOR_JOBID=$(cluster).$(process) PEGASUS_SITE=local"\n'
            "arguments = \"-c 'cat; echo in'\"\nexecutable = /bin/sh\ntransfer_executable = false\n"
            "input = @HERE@//00/00/stage_in_local_0_0.in\nerror = @HERE@//00/00/stage_in_local_0_0.err\n"
            "output = @HERE@//00/00/stage_in_local_0_0.out\nlog = @HERE@/d-0.log\nnotification = NEVER\n"
            "periodic_release = False\nperiodic_remove = (JobStatus == 5) && ((CurrentTime - EnteredCurrentStatus) > 1800)\n"
            'priority = 700\nsubmit_event_user_notes = pool:local\nuniverse = local\n+pegasus_wf_name = "d-0"\nqueue\n',
            "00/00/wc_ID0000002.sh": "#!/bin/sh\ncat lite.sh | wc -l > count.txt\necho counted\n",
            "lite.sh": "#!/bin/sh\n:\n",
            "scratch/f.d": "",
            "00/00/wc_ID0000002.sub": 'environment = "LANG=C PEGASUS_DAG_JOB_ID=wc_ID0000002"\n+WantIOProxy = True\n'
            "error = @HERE@//00/00/wc_ID0000002.err\nexecutable = @HERE@/00/00/wc_ID0000002.sh\n"
            "initialdir = @HERE@/scratch\nlog = @HERE@/d-0.log\noutput = @HERE@//00/00/wc_ID0000002.out\n"
            "priority = 30\nshould_transfer_files = YES\ntransfer_executable = true\n"
            "transfer_input_files = f.d,@HERE@/lite.sh\ntransfer_output_files = count.txt\nuniverse = vanilla\n"
            f"when_to_transfer_output = ON_EXIT\n+pegasus_job_class = 1\n{_NEEDS}queue\n",
        },
    ),
    "a service": (
        "JOB A n.sub\nSERVICE W wait.sub\n",
        {"wait.sub": f"{_SHELL}arguments = \"-c 'sleep 300'\"\n{_NEEDS}queue\n"},
    ),
}
#: Name → files that no command of the DAG names.
MORE = {
    "a script makes a submit file": ["n.sub", "prog.sh"],
    "an inner DAG that a script makes": ["in.dag", "n.sub", "prog.sh"],
}
