from lit_certattr.cli.certify import main

if __name__ == "__main__":
    main()
